//! The screen, drawn.

use std::time::Duration;

use dunlin_protocol::NodeState;
use ratatui::{
    Frame,
    layout::{Alignment, Constraint, Layout, Rect},
    style::{Color, Modifier, Style},
    text::{Line, Span, Text},
    widgets::{Block, Borders, Cell, Clear, Paragraph, Row, Table, TableState},
};

use super::{
    board, invocations,
    look::{Look, is_gone, is_live},
    screen::{Column, Over, Pane, Screen, Sorting},
};
use crate::terminal::{self, output::printable};

/// Below these nothing could be read.
const MIN_WIDTH: u16 = 30;
const MIN_HEIGHT: u16 = 7;
/// What was seen so long ago is told as old, though the connection stands.
const OLD: Duration = Duration::from_secs(10);

const KEYS: &[(&str, &str)] = &[
    ("↑ ↓  k j", "select; in a text, scroll"),
    ("PgUp PgDn Home End", "the same, further"),
    ("Tab", "from boards to invocations, and back"),
    ("Enter", "open a board; why an invocation runs where it runs"),
    ("Esc", "back"),
    ("s, S", "sort by the next column; the other way round"),
    ("?", "these keys"),
    ("q", "leave"),
];

/// Colours, where they are wanted; without them what matters is bold or inverse.
#[derive(Clone, Copy)]
struct Paint(bool);

impl Paint {
    fn of(self, colour: Color) -> Style {
        if self.0 { Style::new().fg(colour) } else { Style::new() }
    }

    fn bad(self) -> Style {
        self.of(Color::Red).add_modifier(Modifier::BOLD)
    }

    fn faint(self) -> Style {
        Style::new().add_modifier(Modifier::DIM)
    }
}

pub(super) fn draw(frame: &mut Frame<'_>, screen: &mut Screen) {
    let area = frame.area();
    let paint = Paint(screen.has_colours);
    if area.width < MIN_WIDTH || area.height < MIN_HEIGHT {
        frame.render_widget(Paragraph::new("the terminal is too small"), area);
        return;
    }
    let [head, body, foot] =
        Layout::vertical([Constraint::Length(2), Constraint::Min(0), Constraint::Length(1)]).areas(area);
    frame.render_widget(heading(screen, paint, area.width), head);
    frame.render_widget(Paragraph::new(footer(screen, paint)), foot);
    let Some(look) = screen.look.clone() else {
        frame.render_widget(Paragraph::new("waiting for the scheduler ..."), body);
        return;
    };
    let boards = u16::try_from(look.nodes.len()).unwrap_or(u16::MAX).saturating_add(1);
    // Both have room, the one that is looked at more of it.
    let share = if screen.pane == Pane::Boards { body.height * 3 / 5 } else { body.height * 2 / 5 };
    let [upper, lower] =
        Layout::vertical([Constraint::Length(boards.clamp(3, share.max(3))), Constraint::Min(0)]).areas(body);
    draw_boards(frame, upper, screen, &look, paint);
    draw_invocations(frame, lower, screen, paint);
    draw_over(frame, body, screen, &look, paint);
}

fn heading(screen: &Screen, paint: Paint, width: u16) -> Paragraph<'static> {
    let Some(look) = &screen.look else { return Paragraph::new("dunlin top") };
    let mut parts = vec![Span::styled("dunlin", Style::new().add_modifier(Modifier::BOLD))];
    let all = look.nodes.len();
    let gone = look.gone();
    let boards = if gone > 0 {
        format!("{} of {}", all - gone, terminal::counted(all, "board"))
    } else {
        terminal::counted(all, "board")
    };
    let live = look.invocations.iter().filter(|invocation| is_live(invocation)).count();
    let waiting = look.fleet.queued;
    let (watts, known) = look.watts();
    let mut facts = vec![
        (boards, if gone > 0 { paint.bad() } else { Style::new() }),
        (format!("{} running", look.fleet.running), Style::new()),
        (format!("{waiting} waiting"), if waiting > 0 { paint.of(Color::Yellow) } else { Style::new() }),
        (format!("{live} live"), Style::new()),
        (format!("{:.1} tokens/s", screen.rates.all()), paint.of(Color::Cyan)),
    ];
    let (resting, off) = look.resting();
    for (count, does) in [(resting, "rest"), (look.changing(), "change mode")] {
        if count > 0 {
            facts.push((format!("{count} {does}"), paint.of(Color::Yellow)));
        }
    }
    if known > 0 {
        let of = if known < (all - gone).saturating_sub(off) {
            format!(" of {known} boards")
        } else {
            String::new()
        };
        facts.push((format!("{watts:.1} W{of}"), Style::new()));
    }
    for (text, style) in facts {
        parts.push(Span::styled(" · ", paint.faint()));
        parts.push(Span::styled(text, style));
    }
    let (link, style) = link(screen, paint);
    let used: usize = parts.iter().map(|part| part.width()).sum();
    let mut lines = vec![];
    // Beside the figures where there is room, else below them.
    if used + link.chars().count() + 2 <= usize::from(width) {
        let blank = usize::from(width) - used - link.chars().count();
        parts.push(Span::raw(" ".repeat(blank)));
        parts.push(Span::styled(link, style));
        lines.push(Line::from(parts));
    } else {
        lines.push(Line::from(parts));
        lines.push(Line::styled(link, style));
    }
    Paragraph::new(Text::from(lines))
}

fn link(screen: &Screen, paint: Paint) -> (String, Style) {
    match &screen.away {
        Some((why, until)) => {
            let next = until.saturating_duration_since(screen.time).as_secs_f64().ceil();
            let age = screen.age().as_secs();
            (
                format!("no scheduler ({}); seen {age} s ago, next try in {next} s", printable(why)),
                paint.bad(),
            )
        }
        None if screen.age() > OLD => {
            (format!("seen {} s ago", screen.age().as_secs()), paint.of(Color::Yellow))
        }
        None => ("live".to_owned(), paint.of(Color::Green)),
    }
}

fn footer(screen: &Screen, paint: Paint) -> Line<'static> {
    let text = match (&screen.over, screen.pane) {
        (Over::Nothing, Pane::Boards) => "q leave  ? keys  Tab invocations  Enter board  s sort",
        (Over::Nothing, Pane::Invocations) => "q leave  ? keys  Tab boards  Enter why there  s sort",
        _ => "Esc back  ↑↓ scroll  q leave",
    };
    Line::styled(text, paint.faint())
}

/// Which columns there is room for, in their order.
fn fitting<T>(columns: &[Column<T>], width: u16) -> Vec<usize> {
    let mut by_rank: Vec<usize> = (0..columns.len()).collect();
    by_rank.sort_by_key(|at| columns[*at].rank);
    let mut used = 0;
    let mut shown: Vec<usize> = by_rank
        .into_iter()
        .take_while(|at| {
            used += columns[*at].width + 1;
            used <= width + 1
        })
        .collect();
    shown.sort_unstable();
    shown
}

struct Shape<'a, T> {
    columns: &'a [Column<T>],
    shown: Vec<usize>,
    sorting: Option<Sorting>,
    is_active: bool,
    paint: Paint,
}

impl<T> Shape<'_, T> {
    fn header(&self) -> Row<'static> {
        let cells = self.shown.iter().map(|at| {
            let column = &self.columns[*at];
            let arrow = match self.sorting {
                Some(sorting) if sorting.column == *at => {
                    if sorting.is_reversed {
                        "▴"
                    } else {
                        "▾"
                    }
                }
                _ => "",
            };
            self.cell(*at, format!("{}{arrow}", column.name), self.paint.faint())
        });
        Row::new(cells.collect::<Vec<_>>())
    }

    fn row(&self, cells: &[String], style: impl Fn(&str) -> Style) -> Row<'static> {
        let cells = self
            .shown
            .iter()
            .map(|at| self.cell(*at, printable(&cells[*at]).into_owned(), style(self.columns[*at].name)));
        Row::new(cells.collect::<Vec<_>>())
    }

    fn cell(&self, at: usize, text: String, style: Style) -> Cell<'static> {
        let alignment = if self.columns[at].is_right { Alignment::Right } else { Alignment::Left };
        Cell::from(Line::styled(text, style).alignment(alignment))
    }

    fn table(&self, rows: Vec<Row<'static>>) -> Table<'static> {
        let last = self.shown.last().copied();
        let widths = self.shown.iter().map(|at| {
            let width = self.columns[*at].width;
            if Some(*at) == last && !self.columns[*at].is_right {
                Constraint::Min(width)
            } else {
                Constraint::Length(width)
            }
        });
        let selected =
            if self.is_active { Style::new().add_modifier(Modifier::REVERSED) } else { Style::new() };
        Table::new(rows, widths.collect::<Vec<_>>())
            .header(self.header())
            .column_spacing(1)
            .row_highlight_style(selected)
    }
}

fn draw_boards(frame: &mut Frame<'_>, area: Rect, screen: &Screen, look: &Look, paint: Paint) {
    let shape = Shape {
        columns: &board::COLUMNS,
        shown: fitting(&board::COLUMNS, area.width),
        sorting: Some(screen.boards),
        is_active: screen.pane == Pane::Boards,
        paint,
    };
    let nodes = screen.sorted_boards();
    if nodes.is_empty() {
        let text = "no boards yet: `dunlin token new` makes a token for one";
        frame.render_widget(Paragraph::new(text), area);
        return;
    }
    let rows = nodes.iter().map(|node| {
        let bad = is_gone(node.state);
        shape.row(&board::cells(node, look), |column| match column {
            "STATE" if bad => paint.bad(),
            // As it should be.
            _ if node.state == NodeState::Parked => paint.faint(),
            "STATE" if node.state != NodeState::Ready => paint.of(Color::Yellow),
            "RUN" if node.running > 0 => paint.of(Color::Cyan),
            _ if bad => paint.faint(),
            _ => Style::new(),
        })
    });
    let table = shape.table(rows.collect());
    let selected = nodes.iter().position(|node| Some(&node.name) == screen.board.as_ref());
    frame.render_stateful_widget(table, area, &mut TableState::new().with_selected(selected));
}

fn draw_invocations(frame: &mut Frame<'_>, area: Rect, screen: &Screen, paint: Paint) {
    let shape = Shape {
        columns: &invocations::COLUMNS,
        shown: fitting(&invocations::COLUMNS, area.width),
        sorting: screen.invocations,
        is_active: screen.pane == Pane::Invocations,
        paint,
    };
    let listed = screen.sorted_invocations();
    if listed.is_empty() {
        frame.render_widget(
            Paragraph::new("nothing runs, and nothing ran in the last ten minutes").style(paint.faint()),
            area,
        );
        return;
    }
    let rows = listed.iter().map(|invocation| {
        let live = is_live(invocation);
        shape.row(&invocations::cells(invocation, &screen.rates, screen.age()), |column| {
            match (column, invocation.state.as_str()) {
                ("STATE", "failed" | "refused" | "expired") => paint.bad(),
                ("STATE", "queued" | "backoff") => paint.of(Color::Yellow),
                ("STATE", _) if live => paint.of(Color::Cyan),
                _ if !live => paint.faint(),
                _ => Style::new(),
            }
        })
    });
    let table = shape.table(rows.collect());
    let selected = listed.iter().position(|of| Some(of.id) == screen.invocation);
    frame.render_stateful_widget(table, area, &mut TableState::new().with_selected(selected));
}

fn draw_over(frame: &mut Frame<'_>, area: Rect, screen: &mut Screen, look: &Look, paint: Paint) {
    let (title, lines) = match &screen.over {
        Over::Nothing => return,
        Over::Help => {
            ("keys".to_owned(), KEYS.iter().map(|(key, does)| format!("{key:<20} {does}")).collect())
        }
        Over::Board(name) => {
            let node = look.nodes.iter().find(|node| node.name == *name);
            let lines =
                node.map_or_else(|| vec!["it left the fleet".to_owned()], |node| board::details(node, look));
            (name.to_string(), lines)
        }
        Over::Explanation(invocation, text) => {
            let text = text.as_deref().unwrap_or("asking the scheduler ...");
            (invocation.to_string(), text.lines().map(str::to_owned).collect())
        }
    };
    let inner = usize::from(area.height.saturating_sub(2));
    screen.scroll = screen.scroll.min(lines.len().saturating_sub(inner));
    let more = lines.len().saturating_sub(screen.scroll + inner);
    let shown = lines.iter().skip(screen.scroll).map(|line| Line::raw(printable(line).into_owned()));
    let mut block =
        Block::new().borders(Borders::ALL).title(format!(" {title} ")).border_style(paint.faint());
    if more > 0 {
        block = block.title_bottom(format!(" {more} more lines "));
    }
    frame.render_widget(Clear, area);
    frame.render_widget(Paragraph::new(shown.collect::<Vec<_>>()).block(block), area);
}

#[cfg(test)]
mod tests;
