//! The memory of this process, as the kernel reports it.

/// Returns the largest resident memory of this process so far, in bytes. Linux only.
pub fn peak_rss_bytes() -> Option<u64> {
    memory_of(&std::fs::read_to_string("/proc/self/status").ok()?, "VmHWM:")
}

/// Returns the resident memory of this process, in bytes. Linux only.
pub fn rss_bytes() -> Option<u64> {
    memory_of(&std::fs::read_to_string("/proc/self/status").ok()?, "VmRSS:")
}

fn memory_of(status: &str, label: &str) -> Option<u64> {
    let value = status.lines().find_map(|line| line.strip_prefix(label))?;
    let kibibytes: u64 = value.trim().strip_suffix("kB")?.trim_end().parse().ok()?;
    Some(kibibytes * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn peak_memory_is_read_from_the_status() {
        assert_eq!(memory_of("Name:\thw\nVmPeak:\t  10 kB\nVmHWM:\t   123 kB\n", "VmHWM:"), Some(123 * 1024));
        assert_eq!(memory_of("Name:\thw\n", "VmHWM:"), None);
        assert_eq!(memory_of("VmHWM:\t x kB\n", "VmHWM:"), None);
        if cfg!(target_os = "linux") {
            let now = rss_bytes().unwrap();
            assert!(now > 1 << 20 && peak_rss_bytes().unwrap() >= now);
        }
    }
}
