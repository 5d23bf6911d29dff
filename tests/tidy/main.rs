//! The rules of the house, held by a test: layers, module cycles, boundaries, sizes, words, and
//! the places where a page and the code say the same thing.
//!
//! Every rule is a pure function from source text to faults, so that each one is also shown to
//! fail on a small bad input, next to where it is written.

mod boundaries;
mod constants;
mod house;
mod layers;
mod modules;
mod pages;
mod sizes;
mod source;
mod targets;
mod tree;

use source::{Fault, checkout};

/// Fails with one line for each fault.
#[track_caller]
fn hold(faults: &[Fault]) {
    let lines: Vec<String> = faults.iter().map(ToString::to_string).collect();
    assert!(
        lines.is_empty(),
        "{} faults\n  {}",
        lines.len(),
        lines.join("\n  ")
    );
}

#[test]
fn every_source_file_is_read() {
    hold(&checkout().unreadable);
    assert!(
        checkout().library().count() > 10,
        "the library's files were not found"
    );
}

#[test]
fn modules_use_only_the_layers_below_them() {
    hold(&layers::check(checkout()));
}

#[test]
fn the_architecture_page_has_the_same_layers() {
    hold(&layers::check_page(
        &checkout().page("docs/architecture.md"),
    ));
}

#[test]
fn no_module_is_in_a_cycle() {
    hold(&modules::check_cycles(checkout()));
}

#[test]
fn only_the_modules_in_charge_name_engines_files_clocks_and_terminals() {
    hold(&boundaries::check(checkout()));
}

#[test]
fn panics_of_the_engine_are_caught_in_exactly_one_place() {
    hold(&boundaries::check_one_catch(checkout()));
}

#[test]
fn files_functions_and_lines_stay_small() {
    hold(&sizes::check(checkout()));
}

#[test]
fn sources_read_as_the_house_writes_them() {
    hold(&house::check(checkout()));
}

#[test]
fn the_glossary_lists_the_words_set_aside() {
    hold(&house::check_page(&checkout().page("docs/glossary.md")));
}

#[test]
fn no_source_or_test_file_is_forgotten() {
    hold(&targets::check_orphans(checkout()));
}

#[test]
fn every_fuzz_target_is_registered() {
    hold(&targets::check_fuzz(checkout()));
}

#[test]
fn the_format_page_and_the_code_have_the_same_numbers() {
    hold(&constants::check(
        checkout(),
        &checkout().page("docs/format.md"),
    ));
}

#[test]
fn every_row_of_a_test_table_names_a_test() {
    hold(&pages::check_test_tables(checkout()));
}

#[test]
fn readme_and_ci_run_the_same_tests() {
    hold(&pages::check_commands(
        &checkout().page("README.md"),
        checkout().script(".ci/run"),
    ));
}

#[test]
fn the_manifest_keeps_its_promises() {
    hold(&pages::check_manifest(&checkout().page("Cargo.toml")));
    hold(&pages::check_changelog(
        &checkout().page("Cargo.toml"),
        &checkout().page("CHANGELOG.md"),
    ));
}
