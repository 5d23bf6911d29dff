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
    local IFS=$' \t\n' words=() word line="${COMP_LINE:0:COMP_POINT}"
    read -ra words <<< "$line"
    [[ "$line" == *[[:space:]] ]] && words+=("")
    local at=$(( ${#words[@]} - 1 ))
    local before="${words[at]%"$2"}" program="${1/#\~/$HOME}"
    COMPREPLY=()
    while IFS= read -r word; do
        [[ -n "$word" ]] || continue
        printf -v word %q "${word#"$before"}"
        COMPREPLY+=("$word")
    done < <(_CLAP_IFS=$'\n' _CLAP_COMPLETE_INDEX="$at" VARIABLE=bash \
        "$program" -- "${words[@]}" 2> /dev/null && echo)
    if [[ ${#COMPREPLY[@]} -eq 1 && "${COMPREPLY[0]}" == *[=/:@] ]]; then
        compopt -o nospace 2> /dev/null
    fi
    return 0
}
if [[ ${BASH_VERSINFO[0]} -gt 4 || ${BASH_VERSINFO[0]} -eq 4 && ${BASH_VERSINFO[1]} -ge 4 ]]; then
    complete -o bashdefault -o default -o nosort -F _ckptdb ckptdb
else
    complete -o bashdefault -o default -F _ckptdb ckptdb
fi
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
