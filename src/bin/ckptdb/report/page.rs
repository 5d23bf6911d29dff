//! The page around what is shown: all in one file, right without scripts, light and dark.

use std::fmt::Write;

const STYLE: &str = include_str!("page.css");

/// What a page begins with, by which a later one knows that it may take its place.
pub(super) const BEGIN: &str = "<!doctype html>\n<!-- ckptdb report -->\n";

/// Text, for between tags and within attributes.
pub(super) fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            // What no page may have.
            control if control.is_control() && control != '\n' => out.push('\u{fffd}'),
            other => out.push(other),
        }
    }
    out
}

/// A table of text and, right of it, numbers.
pub(super) struct Table {
    caption: String,
    /// Headings, and whether the column is of numbers.
    columns: Vec<(String, bool)>,
    rows: Vec<Vec<String>>,
}

impl Table {
    pub(super) fn new(
        caption: String,
        columns: &[(&str, bool)],
        rows: impl Iterator<Item = Vec<String>>,
    ) -> Self {
        let column = |(heading, is_number): &(&str, bool)| ((*heading).to_owned(), *is_number);
        Self {
            caption,
            columns: columns.iter().map(column).collect(),
            rows: rows.collect(),
        }
    }

    /// The table, in a frame that scrolls where it is too narrow.
    fn html(&self, title: &str) -> String {
        let class = |is_number: bool| if is_number { " class=\"n\"" } else { "" };
        let mut html = format!(
            "<div class=\"wide\" role=\"group\" aria-label=\"{}\" tabindex=\"0\"><table>\
             <caption class=\"soft\">{}</caption><thead><tr>",
            escaped(title),
            escaped(&self.caption)
        );
        for (heading, is_number) in &self.columns {
            let _ = write!(
                html,
                "<th scope=\"col\"{}>{}</th>",
                class(*is_number),
                escaped(heading)
            );
        }
        html.push_str("</tr></thead><tbody>");
        for row in &self.rows {
            html.push_str("<tr>");
            for (place, (text, (_, is_number))) in row.iter().zip(&self.columns).enumerate() {
                let (class, text) = (class(*is_number), escaped(text));
                let _ = if place == 0 {
                    write!(html, "<th scope=\"row\"{class}>{text}</th>")
                } else {
                    write!(html, "<td{class}>{text}</td>")
                };
            }
            html.push_str("</tr>");
        }
        html + "</tbody></table></div>"
    }
}

/// A drawing with its heading, and the same in numbers below.
pub(super) fn figure(title: &str, drawing: &str, table: &Table) -> String {
    let table = table.html(title);
    format!(
        "<figure><figcaption><h3>{title}</h3></figcaption>{drawing}<details>\
         <summary>{title} in numbers</summary>{table}</details></figure>",
        title = escaped(title),
    )
}

/// Names and values.
pub(super) fn facts(facts: &[(&str, String)]) -> String {
    let fact = |(name, value): &(&str, String)| {
        format!("<dt>{}</dt><dd>{}</dd>", escaped(name), escaped(value))
    };
    format!("<dl>{}</dl>", facts.iter().map(fact).collect::<String>())
}

/// The page, of sections with a heading and a body each.
pub(super) fn page(title: &str, head: &str, sections: &[(String, String)]) -> String {
    let mut html = format!(
        "{BEGIN}<html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">\
         <title>{title}</title><style>{STYLE}</style></head><body><header><h1>{title}</h1>{head}\
         </header>",
        title = escaped(title),
    );
    if sections.len() > 1 {
        html.push_str("<nav aria-label=\"Sections\"><ul>");
        for (number, (name, _)) in sections.iter().enumerate() {
            let _ = write!(
                html,
                "<li><a href=\"#s{number}\">{}</a></li>",
                escaped(name)
            );
        }
        html.push_str("</ul></nav>");
    }
    html.push_str("<main>");
    for (number, (name, body)) in sections.iter().enumerate() {
        let _ = write!(
            html,
            "\n<section aria-labelledby=\"s{number}\"><h2 id=\"s{number}\">{}</h2>{body}</section>",
            escaped(name)
        );
    }
    html + "</main></body></html>\n"
}
