//! The pages of the stand-in.

use super::StandInProvider;

/// Text as HTML shows it.
fn escaped(text: &str) -> String {
    text.chars()
        .map(|character| match character {
            '&' => "&amp;".to_owned(),
            '<' => "&lt;".to_owned(),
            '>' => "&gt;".to_owned(),
            '"' => "&quot;".to_owned(),
            '\'' => "&#39;".to_owned(),
            other => other.to_string(),
        })
        .collect()
}

fn page(content: &str) -> String {
    format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>Stand-in identity \
         provider</title></head><body><main><h1>Stand-in identity provider</h1>\n<p><strong>This is \
         a stand-in for trying Carnet out. It has no passwords: everybody who sees this page can \
         log in as anybody.</strong></p>\n{content}\n</main></body></html>\n"
    )
}

pub(super) fn message(text: &str) -> String {
    page(&format!("<p>{}</p>", escaped(text)))
}

/// The log-in page: for each person one button with a second factor and one without, and one to
/// decline.
pub(super) fn log_in(request: &str) -> String {
    let people = StandInProvider::PEOPLE.map(|person| {
        let form = |second_factor: &str, label: &str| {
            format!(
                "<form method=\"post\" action=\"log-in\"><input type=\"hidden\" name=\"request\" \
                 value=\"{}\"><input type=\"hidden\" name=\"person\" value=\"{}\"><input \
                 type=\"hidden\" name=\"second_factor\" value=\"{second_factor}\"><button>Log in as \
                 {} {label}</button></form>",
                escaped(request),
                person.sub,
                escaped(person.name)
            )
        };
        format!(
            "<li>{}, in the groups {}\n{}\n{}</li>",
            escaped(person.name),
            escaped(&person.groups.join(", ")),
            form("yes", "with a second factor"),
            form("no", "without a second factor")
        )
    });
    let decline = format!(
        "<form method=\"post\" action=\"log-in\"><input type=\"hidden\" name=\"request\" \
         value=\"{}\"><button>Cancel</button></form>",
        escaped(request)
    );
    page(&format!("<ul>\n{}\n</ul>\n{decline}", people.join("\n")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_shown_as_text() {
        let page = log_in("state=\"><script>alert(1)</script>");
        assert!(!page.contains("<script>"));
        assert!(page.contains("state=&quot;&gt;&lt;script&gt;"));
        assert!(page.contains("no passwords"));
    }
}
