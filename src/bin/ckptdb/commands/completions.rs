//! `completions`: what a shell needs to complete commands, options, and what is in the store.

use std::io::Write;

use clap_complete::Shell;
use clap_complete::env::Shells;
use serde_json::json;

use crate::complete;
use crate::failure::Failure;
use crate::output::Style;

/// Bash parts words at `@`, `:` and `=` too, of which references and options are made, and puts an
/// answer in the place of the last part alone.
const BASH: &str = r#"_ckptdb() {
    local IFS=$' \t\n' words=() line="${COMP_LINE:0:COMP_POINT}"
    read -ra words <<< "$line"
    [[ "$line" == *[[:space:]] ]] && words+=("")
    local at=$(( ${#words[@]} - 1 ))
    local before="${words[at]%"$2"}"
    COMPREPLY=()
    local word
    while IFS= read -r word; do
        COMPREPLY+=("${word#"$before"}")
    done < <(_CLAP_IFS=$'\n' _CLAP_COMPLETE_INDEX="$at" VARIABLE=bash "$1" -- "${words[@]}" && echo)
    [[ "${COMPREPLY[-1]}" == "" ]] && unset "COMPREPLY[-1]"
    [[ "${COMPREPLY[0]}" == *[=/:@] ]] && compopt -o nospace 2> /dev/null
    return 0
}
complete -o bashdefault -o nosort -F _ckptdb ckptdb
"#;

/// Options of `completions`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The shell.
    #[arg(value_name = "SHELL")]
    shell: Shell,
}

/// Prints the script.
pub(crate) fn run(args: &Args, style: &Style) -> Result<(), Failure> {
    let script = script(args.shell)?;
    if style.json {
        let script = String::from_utf8_lossy(&script);
        return style.document("completions", &json!({ "script": script }));
    }
    let mut out = style.out();
    out.write_all(&script)?;
    Ok(out.flush()?)
}

/// It asks the program at each step: what can be typed depends on the store.
fn script(shell: Shell) -> Result<Vec<u8>, Failure> {
    let mut script = Vec::new();
    if shell == Shell::Bash {
        script.extend(BASH.replace("VARIABLE", complete::VARIABLE).bytes());
    } else if let Some(completer) = Shells::builtins().completer(&shell.to_string()) {
        let name = "ckptdb";
        completer.write_registration(complete::VARIABLE, name, name, name, &mut script)?;
    }
    Ok(script)
}
