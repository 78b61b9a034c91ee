//! The few colours there are: the terminal's own sixteen, so that they fit a light one and a dark one. Without colour the same is bold,
//! underlined, dim or reversed; nothing is said by colour alone.

use super::notes::Tone;
use anstyle::{AnsiColor, Effects};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};

/// With or without colours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Palette {
    Coloured,
    Plain,
}

impl Palette {
    /// How something that is meant so is written.
    pub(super) const fn style(self, tone: Tone) -> Style {
        let style = Style::new();
        match (tone, self) {
            (Tone::Plain, _) | (Tone::Good, Self::Plain) => style,
            (Tone::Strong, _) => style.add_modifier(Modifier::BOLD),
            (Tone::Good, Self::Coloured) => style.fg(Color::Green),
            (Tone::Warn, Self::Coloured) => style.fg(Color::Yellow),
            (Tone::Bad, Self::Coloured) => style.fg(Color::Red).add_modifier(Modifier::BOLD),
            (Tone::Quiet, Self::Coloured) => style.fg(Color::DarkGray),
            (Tone::Warn, Self::Plain) => style.add_modifier(Modifier::BOLD),
            (Tone::Bad, Self::Plain) => {
                style.add_modifier(Modifier::BOLD.union(Modifier::UNDERLINED))
            }
            (Tone::Quiet, Self::Plain) => style.add_modifier(Modifier::DIM),
        }
    }

    /// A piece of a line.
    pub(super) fn paint(self, tone: Tone, text: impl Into<String>) -> Span<'static> {
        Span::styled(text.into(), self.style(tone))
    }
}

/// A line with the escape sequences of its styles, for printing.
pub(super) fn ansi(line: &Line<'_>) -> String {
    let mut text = String::new();
    for span in &line.spans {
        let style = anstyle_of(line.style.patch(span.style));
        let piece = format!("{}{}{}", style.render(), span.content, style.render_reset());
        text.push_str(&piece);
    }
    text.trim_end().to_owned()
}

fn anstyle_of(style: Style) -> anstyle::Style {
    let colour = match style.fg {
        Some(Color::Green) => Some(AnsiColor::Green),
        Some(Color::Yellow) => Some(AnsiColor::Yellow),
        Some(Color::Red) => Some(AnsiColor::Red),
        Some(Color::DarkGray) => Some(AnsiColor::BrightBlack),
        _ => None,
    };
    let mut effects = Effects::new();
    for (modifier, effect) in [
        (Modifier::BOLD, Effects::BOLD),
        (Modifier::DIM, Effects::DIMMED),
        (Modifier::UNDERLINED, Effects::UNDERLINE),
        (Modifier::REVERSED, Effects::INVERT),
    ] {
        if style.add_modifier.contains(modifier) {
            effects |= effect;
        }
    }
    anstyle::Style::new()
        .fg_color(colour.map(Into::into))
        .effects(effects)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_colour_no_style_has_one_and_what_is_bad_still_stands_out() {
        for tone in [
            Tone::Plain,
            Tone::Good,
            Tone::Warn,
            Tone::Bad,
            Tone::Quiet,
            Tone::Strong,
        ] {
            let style = Palette::Plain.style(tone);
            assert_eq!((style.fg, style.bg), (None, None), "{tone:?}");
        }
        let bad = Palette::Plain.style(Tone::Bad);
        assert_ne!(bad, Palette::Plain.style(Tone::Plain));
    }

    #[test]
    fn a_line_is_printed_with_its_styles_and_without_the_room_after_it() {
        let line = Line::from(vec![
            Span::raw("a "),
            Palette::Coloured.paint(Tone::Bad, "b"),
            Span::raw("   "),
        ]);
        assert_eq!(ansi(&line), "a \u{1b}[1m\u{1b}[31mb\u{1b}[0m");
    }
}
