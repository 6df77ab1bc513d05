//! The terminal: what keys do, and how a view is drawn.

use super::sheets::{Column, Sheet, View, summary};
use super::snapshot::Change;
use ratatui::Frame;
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use ratatui::layout::{Alignment, Constraint, Layout};
use ratatui::style::{Modifier, Style};
use ratatui::text::{Line, Span, Text};
use ratatui::widgets::{Block, Clear, Paragraph, Row, Table, TableState};

const HELP: &str = "\
1 2 3 4, Tab   cores, partitions, clients, groups
left right     sort by another column
r              reverse the order
up down j k    move; PgUp PgDn, Home End
/              filter by text; Enter keeps it, Esc clears it
p              pause
?              this help
q, Ctrl-C      leave";

/// What the person at the keys has chosen.
#[derive(Debug)]
pub(super) struct Screen {
    pub(super) view: View,
    /// By view: the column it is sorted by, and whether downwards.
    orders: [(usize, bool); View::ALL.len()],
    pub(super) filter: String,
    typing: bool,
    helping: bool,
    pub(super) paused: bool,
    place: TableState,
    /// Rows of the last drawing, and how many of them fit.
    rows: usize,
    page: usize,
}

impl Screen {
    pub(super) fn new(view: View) -> Screen {
        Screen {
            view,
            orders: View::ALL.map(View::first_order),
            filter: String::new(),
            typing: false,
            helping: false,
            paused: false,
            place: TableState::new().with_selected(0),
            rows: 0,
            page: 1,
        }
    }

    fn number(&self) -> usize {
        View::ALL.iter().position(|view| *view == self.view).expect("every view is in the list")
    }

    fn show(&mut self, number: usize) {
        self.view = View::ALL[number % View::ALL.len()];
        self.place.select(Some(0));
    }

    /// Takes a key; false: leave.
    pub(super) fn key(&mut self, key: KeyEvent) -> bool {
        if key.modifiers.contains(KeyModifiers::CONTROL) && key.code == KeyCode::Char('c') {
            return false;
        }
        if self.typing {
            self.type_filter(key.code);
            return true;
        }
        if std::mem::take(&mut self.helping) {
            return true;
        }
        match key.code {
            KeyCode::Char('q') => return false,
            KeyCode::Char(digit @ '1'..='4') => self.show(digit as usize - '1' as usize),
            KeyCode::Tab => self.show(self.number() + 1),
            KeyCode::BackTab => self.show(self.number() + View::ALL.len() - 1),
            KeyCode::Left => self.order(|column| column.saturating_sub(1)),
            KeyCode::Right => self.order(|column| column + 1),
            KeyCode::Char('r') => {
                let number = self.number();
                self.orders[number].1 ^= true;
            }
            KeyCode::Char('/') => self.typing = true,
            KeyCode::Esc => self.filter.clear(),
            KeyCode::Char('p') => self.paused ^= true,
            KeyCode::Char('?' | 'h') => self.helping = true,
            KeyCode::Up | KeyCode::Char('k') => self.step(-1),
            KeyCode::Down | KeyCode::Char('j') => self.step(1),
            KeyCode::PageUp => self.step(-(self.page as isize)),
            KeyCode::PageDown => self.step(self.page as isize),
            KeyCode::Home => self.step(isize::MIN),
            KeyCode::End => self.step(isize::MAX),
            _ => {}
        }
        true
    }

    fn type_filter(&mut self, code: KeyCode) {
        match code {
            KeyCode::Enter => self.typing = false,
            KeyCode::Esc => {
                self.typing = false;
                self.filter.clear();
            }
            KeyCode::Backspace => {
                self.filter.pop();
            }
            KeyCode::Char(c) => self.filter.push(c),
            _ => {}
        }
    }

    fn order(&mut self, to: fn(usize) -> usize) {
        let number = self.number();
        self.orders[number].0 = to(self.orders[number].0);
    }

    fn step(&mut self, by: isize) {
        let at = self.place.selected().unwrap_or(0).saturating_add_signed(by);
        self.place.select(Some(at.min(self.rows.saturating_sub(1))));
    }

    /// The view's table, filtered and sorted as chosen.
    pub(super) fn sheet(&mut self, change: &Change<'_>) -> Sheet {
        let mut sheet = self.view.sheet(change);
        let number = self.number();
        let order = &mut self.orders[number];
        order.0 = order.0.min(sheet.columns.len() - 1);
        sheet.arrange(order.0, order.1, &self.filter);
        sheet
    }

    /// Draws everything. `change` is None until the first answer; `trouble` is why there is no newer one.
    pub(super) fn draw(
        &mut self,
        frame: &mut Frame<'_>,
        from: &str,
        change: Option<&Change<'_>>,
        trouble: Option<&str>,
    ) {
        let [head, body, foot] =
            Layout::vertical([Constraint::Length(4), Constraint::Fill(1), Constraint::Length(1)]).areas(frame.area());
        let version = change.and_then(|c| c.now.word("ringlog_build_info", "version")).unwrap_or_default();
        let mut lines = vec![Line::styled(format!("Ringlog {version} at {from}"), Modifier::BOLD)];
        lines.extend(change.iter().flat_map(|change| summary(change)).map(Line::raw));
        lines.push(match (trouble, self.paused) {
            (Some(trouble), _) => Line::styled(trouble.to_string(), Modifier::REVERSED),
            (None, true) => Line::styled("paused: p goes on", Modifier::REVERSED),
            (None, false) => self.tabs(),
        });
        frame.render_widget(Paragraph::new(lines), head);
        if let Some(change) = change {
            let sheet = self.sheet(change);
            let note = sheet.note.clone();
            self.table(frame, body, &sheet);
            frame.render_widget(Paragraph::new(self.foot(&sheet, note)), foot);
        }
        if self.helping {
            let help = Text::raw(HELP);
            let size = [help.width() as u16 + 4, help.height() as u16 + 2];
            let place = frame.area().centered(Constraint::Length(size[0]), Constraint::Length(size[1]));
            frame.render_widget(Clear, place);
            frame.render_widget(Paragraph::new(help).block(Block::bordered().title("keys")), place);
        }
    }

    fn tabs(&self) -> Line<'static> {
        let tab = |(number, view): (usize, View)| {
            let style = if view == self.view { Style::new().reversed() } else { Style::new() };
            [Span::styled(format!(" {} {} ", number + 1, view.title()), style), Span::raw(" ")]
        };
        Line::from_iter(View::ALL.into_iter().enumerate().flat_map(tab))
    }

    fn foot(&self, sheet: &Sheet, note: Option<String>) -> String {
        if self.typing {
            return format!("filter: {}_", self.filter);
        }
        let filter = if self.filter.is_empty() { String::new() } else { format!(", filter `{}`", self.filter) };
        let note = note.map_or(String::new(), |note| format!("; {note}"));
        format!("{} rows{filter}{note}   ? help  q leave", sheet.rows.len())
    }

    fn table(&mut self, frame: &mut Frame<'_>, area: ratatui::layout::Rect, sheet: &Sheet) {
        let (by, downwards) = self.orders[self.number()];
        self.rows = sheet.rows.len();
        self.page = usize::from(area.height.saturating_sub(1)).max(1);
        self.step(0);
        let place = self.place.selected().unwrap_or(0);
        // Only rows near the window are made: there may be 20,000.
        let first = self.place.offset().min(place).max((place + 1).saturating_sub(self.page));
        let shown = &sheet.rows[first.min(self.rows)..(first + self.page).min(self.rows)];
        let arrow = |k: usize| match downwards {
            _ if k != by => "",
            true => "\u{25be}",
            false => "\u{25b4}",
        };
        let titled = |(k, (title, _)): (usize, &Column)| format!("{title}{}", arrow(k));
        let titles: Vec<String> = sheet.columns.iter().enumerate().map(titled).collect();
        let cells: Vec<Vec<String>> = shown.iter().map(|row| row.iter().map(|cell| cell.show()).collect()).collect();
        let width = |k: usize| {
            let widest = cells.iter().map(|row| row[k].chars().count()).max().unwrap_or(0);
            widest.max(titles[k].chars().count()) as u16
        };
        let widths: Vec<Constraint> = (0..titles.len()).map(|k| Constraint::Length(width(k))).collect();
        let side = |k: usize| if sheet.columns[k].1 { Alignment::Right } else { Alignment::Left };
        let line = |texts: Vec<String>| {
            Row::new(texts.into_iter().enumerate().map(|(k, text)| Text::from(text).alignment(side(k))))
        };
        let table = Table::new(cells.iter().cloned().map(line), widths)
            .header(line(titles.clone()).style(Modifier::BOLD))
            .column_spacing(2)
            .row_highlight_style(Modifier::REVERSED);
        let mut within = TableState::new().with_selected(place.saturating_sub(first));
        frame.render_stateful_widget(table, area, &mut within);
        *self.place.offset_mut() = first;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn press(screen: &mut Screen, keys: &str) -> bool {
        keys.chars().all(|c| screen.key(KeyEvent::from(if c == '\n' { KeyCode::Enter } else { KeyCode::Char(c) })))
    }

    #[test]
    fn keys_do_what_the_help_says() {
        let mut screen = Screen::new(View::Cores);
        assert!(press(&mut screen, "4"));
        assert_eq!(screen.view, View::Groups);
        assert!(screen.key(KeyEvent::from(KeyCode::Tab)));
        assert_eq!(screen.view, View::Cores);
        assert!(press(&mut screen, "/q4\n"));
        assert_eq!((screen.filter.as_str(), screen.view), ("q4", View::Cores));
        assert!(screen.key(KeyEvent::from(KeyCode::Esc)));
        assert_eq!(screen.filter, "");
        assert!(press(&mut screen, "p"));
        assert!(screen.paused);
        assert!(press(&mut screen, "?q"), "any key closes the help");
        assert!(!press(&mut screen, "q"));
        assert!(!screen.key(KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL)));
    }
}
