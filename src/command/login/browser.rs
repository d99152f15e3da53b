//! Opening a page in the person's browser.

use std::os::unix::process::CommandExt as _;
use std::process::{Command, Stdio};

use carnet_exchange::Environment;
use url::Url;

/// Variables without which `xdg-open` could only start a browser in this terminal.
const OF_DESKTOPS: [&str; 3] = ["DISPLAY", "WAYLAND_DISPLAY", "BROWSER"];

/// Tries to open a page. Nobody is told if that fails: the URL is printed as well.
pub fn open(url: &Url, environment: &Environment) {
    let is_mac = cfg!(target_os = "macos");
    if !is_mac && !OF_DESKTOPS.iter().any(|name| environment.has(name)) {
        return;
    }
    let program = if is_mac { "open" } else { "xdg-open" };
    let mut command = Command::new(program);
    command
        .arg(url.as_str())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        // Ctrl-C ends this command, and not a browser that was started for it.
        .process_group(0);
    command.spawn().ok();
}
