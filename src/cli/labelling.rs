//! The verb that gives classes to shapes.

use super::ruling::Target;
use crate::error::Error;
use crate::observe::labels::{LabelChanged, LabelsReport, ShapeRow, Worth, queue};
use clap::Args;
use headwater_client::{Labels, PAGE, Query, peek};

/// Gives a class to all events of a shape in a run that have none, or lists what is most worth one
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  headwater label shop.toml --queue                          what is most worth a label
  headwater label shop.toml 2ca34cd287291897 click --by ann
  headwater label shop.toml 2ca34cd287291897 --remove
  headwater label http://127.0.0.1:7474 --list

A label holds for all events of the shape that no rule claims and that have no type, also
for those of before. No event is read again. With `learn` it teaches, like a type.

Exit codes: 0 fine, 1 the run refuses or cannot be reached, 2 wrong usage.")]
pub struct Label {
    #[command(flatten)]
    pub run: Target,

    /// The shape: 16 digits, as in the collection `shapes` and in `explain`
    #[arg(required_unless_present_any = ["queue", "list"])]
    pub shape: Option<String>,

    /// The class of its events
    #[arg(required_unless_present_any = ["queue", "list", "remove"], conflicts_with = "remove")]
    pub class: Option<String>,

    /// Take the label of the shape back
    #[arg(long)]
    pub remove: bool,

    /// List the shapes that are most worth a label: those with the most events without a class
    #[arg(long, conflicts_with_all = ["shape", "class", "remove", "list"])]
    pub queue: bool,

    /// List the labels that hold
    #[arg(long, conflicts_with_all = ["shape", "class", "remove"])]
    pub list: bool,

    /// The largest number of shapes in the queue
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u16).range(1..))]
    pub limit: u16,

    /// Who gives it, for --list; where tokens are needed, the name of the token is there too
    #[arg(long, value_name = "NAME")]
    pub by: Option<String>,
}

impl Label {
    /// Does it. Returns what is printed.
    ///
    /// # Errors
    /// [`Error::Run`] if the run refuses or cannot be reached.
    pub fn run(&self) -> Result<String, Error> {
        let (_, url) = self.run.find()?;
        let token = self.run.token.as_deref();
        if self.queue {
            let worth = self.worth(&url, token)?;
            return self.run.print(&worth, |worth| match worth.is_empty() {
                true => "every event has a class from a rule or a type\n".to_owned(),
                false => worth.iter().map(Worth::render).collect(),
            });
        }
        let client = Labels::new(&url, token);
        let client = client.map_err(|error| Error::usage(error.to_string(), "write http://HOST:PORT"))?;
        let Some(shape) = &self.shape else {
            let report: LabelsReport = client.list().map_err(Error::run("list the labels"))?;
            return self.run.print(&report, LabelsReport::render);
        };
        let by = self.by.iter().map(|by| ("by", by.clone())).collect::<Vec<_>>();
        let class = self.class.as_deref();
        let changed: LabelChanged = client.change(shape, class, &by).map_err(Error::run(format!("label {shape}")))?;
        self.run.print(&changed, LabelChanged::render)
    }

    /// Reads the shapes of the run.
    fn worth(&self, url: &str, token: Option<&str>) -> Result<Vec<Worth>, Error> {
        // There are at most half as many.
        let query = Query { limit: Some(PAGE), ..Query::default() };
        let page = peek(url, token, "shapes", &query).map_err(Error::run("read the shapes"))?;
        let rows = page.rows.iter().map(|row| row.read::<ShapeRow>()).collect::<Result<Vec<_>, _>>();
        Ok(queue(rows.map_err(Error::run("read the shapes"))?, usize::from(self.limit)))
    }
}
