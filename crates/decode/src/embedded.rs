//! Texts that hold an event of their own: an object of JSON, or its base64 (RFC 4648), as Pub/Sub, Kinesis and Event Hubs
//! deliver it.

use base64::Engine;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use std::borrow::Cow;

/// With or without padding.
const ANY_PADDING: GeneralPurposeConfig =
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
const ENGINES: [GeneralPurpose; 2] =
    [GeneralPurpose::new(&alphabet::STANDARD, ANY_PADDING), GeneralPurpose::new(&alphabet::URL_SAFE, ANY_PADDING)];

/// Returns the text without blanks at its ends; if that is the base64 of an object of JSON, the object.
pub fn plain(text: &str) -> Cow<'_, str> {
    let text = text.trim();
    // What `{"`, or `{` and a blank, become.
    let may_be_object = ["eyI", "eyA", "eyJ", "ewo", "ew0", "ewk", "e30"].iter().any(|start| text.starts_with(start));
    if may_be_object {
        for engine in &ENGINES {
            let object = engine.decode(text).ok().and_then(|bytes| String::from_utf8(bytes).ok());
            if let Some(object) = object.filter(|object| object.starts_with('{')) {
                return Cow::Owned(object);
            }
        }
    }
    Cow::Borrowed(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_base64_of_an_object_is_decoded() {
        for (text, expected) in [
            ("eyJhIjoxfQ==", "{\"a\":1}"),
            ("eyJhIjoxfQ", "{\"a\":1}"),
            (" eyAiYSI6IjwwPz8_In0= ", "{ \"a\":\"<0???\"}"),
            ("ewogfQ==", "{\n }"),
            ("e30=", "{}"),
            ("eyJhIjoxfQ=?", "eyJhIjoxfQ=?"),
            ("eye", "eye"),
            ("eyJ\u{fc}", "eyJ\u{fc}"),
            ("{\"a\":1}\n", "{\"a\":1}"),
            ("", ""),
        ] {
            assert_eq!(plain(text), expected, "{text}");
        }
    }
}
