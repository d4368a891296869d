//! Our pages, read as far as a browser without JavaScript needs: the heading, the one form, its fields and buttons.

use crate::params::Params;

/// A page.
#[derive(Clone, Debug, Default)]
pub(crate) struct Page {
    /// Of `<h1>`.
    pub(crate) heading: String,
    /// Where its form goes.
    pub(crate) action: String,
    controls: Vec<Control>,
}

#[derive(Clone, Debug)]
struct Control {
    tag: &'static str,
    id: String,
    name: String,
    value: String,
}

impl Page {
    pub(crate) fn parse(html: &str) -> Page {
        let mut page = Page {
            heading: between(html, "<h1>", "</h1>").unwrap_or_default(),
            ..Page::default()
        };
        for tag in html.split('<').skip(1) {
            let attribute =
                |name: &str| between(tag, &format!(" {name}=\""), "\"").unwrap_or_default();
            for kind in ["form", "input", "button"] {
                if tag
                    .strip_prefix(kind)
                    .is_none_or(|rest| !rest.starts_with(' '))
                {
                    continue;
                }
                if kind == "form" {
                    page.action = attribute("action");
                }
                page.controls.push(Control {
                    tag: kind,
                    id: attribute("id"),
                    name: attribute("name"),
                    value: attribute("value"),
                });
            }
        }
        page
    }

    /// Whether a form or a control has this id.
    pub(crate) fn has(&self, id: &str) -> bool {
        self.controls.iter().any(|control| control.id == id)
    }

    /// What the browser sends when this is typed and that button is pressed. A value typed as nothing is not sent:
    /// so is a box unticked.
    pub(crate) fn filled(&self, typed: &[(&'static str, String)], button: &str) -> Params {
        assert!(self.has(button), "no #{button} under {:?}", self.heading);
        let mut form = Params::default();
        for control in &self.controls {
            let is_sent = match control.tag {
                "input" => true,
                "button" => control.id == button && !control.name.is_empty(),
                _ => false,
            };
            if !is_sent {
                continue;
            }
            match typed.iter().find(|(name, _)| *name == control.name) {
                Some((_, value)) if value.is_empty() => {}
                Some((name, value)) => form = form.and(name, value),
                None => form = form.and(&control.name, &control.value),
            }
        }
        form
    }
}

/// An attribute of each element of this name.
pub(crate) fn attributes(html: &str, element: &str, attribute: &str) -> Vec<String> {
    let begin = format!(" {attribute}=\"");
    html.split(&format!("<{element} "))
        .skip(1)
        .filter_map(|rest| between(&format!(" {}", rest.split_once('>')?.0), &begin, "\""))
        .collect()
}

fn between(text: &str, begin: &str, end: &str) -> Option<String> {
    let rest = text.split_once(begin)?.1;
    let escaped = rest.split_once(end)?.0;
    let names = [
        ("&#34;", "\""),
        ("&#39;", "'"),
        ("&#60;", "<"),
        ("&#62;", ">"),
        ("&#38;", "&"),
    ];
    Some(names.iter().fold(escaped.to_owned(), |text, (from, to)| {
        text.replace(from, to)
    }))
}
