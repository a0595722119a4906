//! A guest's client that knows nothing but the documented protocol.

/// A script for bash: dials the given address, shows the token, sends these lines and prints an answer for each.
pub fn dial(lines: &[&str]) -> String {
    let lines: Vec<String> = lines.iter().map(|line| format!("printf '%s\\n' {} >&3", quoted(line))).collect();
    format!(
        "exec 3<>\"/dev/tcp/$WM_RPC_HOST/$WM_RPC_PORT\"; printf '{{\"token\":\"%s\"}}\\n' \"$WM_RPC_TOKEN\" >&3; {}; \
         for i in $(seq {}); do IFS= read -r -t 20 line <&3 && printf '%s\\n' \"$line\"; done",
        lines.join("; "),
        lines.len()
    )
}

/// A word of a shell that is this text.
pub fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "'\\''"))
}
