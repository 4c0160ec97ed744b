//! What is on the screen, and what keys do to it.

use std::{
    cmp::Ordering,
    time::{Duration, Instant},
};

use dunlin_protocol::{InvocationId, JoinedNode, ListedInvocation, NodeId};
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

use super::{
    board, invocations,
    look::{Look, Rates, is_live},
};

/// Lines that Page Up and Page Down go.
const PAGE: usize = 10;

/// A column of a table.
pub(super) struct Column<T> {
    pub(super) name: &'static str,
    pub(super) width: u16,
    /// The highest ones are left out first where there is no room.
    pub(super) rank: u8,
    pub(super) is_right: bool,
    pub(super) order: fn(&T, &T) -> Ordering,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pane {
    Boards,
    Invocations,
}

/// What lies over the tables.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Over {
    Nothing,
    Help,
    Board(NodeId),
    /// The text is there once the scheduler told it.
    Explanation(InvocationId, Option<String>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Next {
    Stay,
    Leave,
    Explain(InvocationId),
}

/// Which column a table goes by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Sorting {
    pub(super) column: usize,
    pub(super) is_reversed: bool,
}

#[derive(Debug)]
pub(super) struct Screen {
    pub(super) has_colours: bool,
    /// Now.
    pub(super) time: Instant,
    pub(super) look: Option<Look>,
    pub(super) rates: Rates,
    /// Why there is no connection, and when the next try is.
    pub(super) away: Option<(String, Instant)>,
    pub(super) pane: Pane,
    pub(super) over: Over,
    pub(super) scroll: usize,
    pub(super) boards: Sorting,
    pub(super) invocations: Option<Sorting>,
    /// What is selected stays selected wherever it goes.
    pub(super) board: Option<NodeId>,
    pub(super) invocation: Option<InvocationId>,
}

impl Screen {
    pub(super) fn new(has_colours: bool) -> Self {
        Self {
            has_colours,
            time: Instant::now(),
            look: None,
            rates: Rates::default(),
            away: None,
            pane: Pane::Boards,
            over: Over::Nothing,
            scroll: 0,
            boards: Sorting::default(),
            invocations: None,
            board: None,
            invocation: None,
        }
    }

    pub(super) fn see(&mut self, look: Look) {
        self.rates.see(&look);
        self.look = Some(look);
        self.away = None;
        let boards = self.sorted_boards();
        if !boards.iter().any(|node| Some(&node.name) == self.board.as_ref()) {
            self.board = boards.first().map(|node| node.name.clone());
        }
        let invocations = self.sorted_invocations();
        if !invocations.iter().any(|invocation| Some(invocation.id) == self.invocation) {
            self.invocation = invocations.first().map(|invocation| invocation.id);
        }
    }

    pub(super) fn lost(&mut self, why: String, until: Instant) {
        self.away = Some((why, until));
    }

    pub(super) fn explained(&mut self, invocation: InvocationId, text: String) {
        if let Over::Explanation(open, shown) = &mut self.over
            && *open == invocation
        {
            *shown = Some(text);
        }
    }

    /// How old what is shown is.
    pub(super) fn age(&self) -> Duration {
        self.look.as_ref().map_or(Duration::ZERO, |look| self.time.saturating_duration_since(look.at))
    }

    pub(super) fn sorted_boards(&self) -> Vec<JoinedNode> {
        let mut nodes = self.look.as_ref().map(|look| look.nodes.clone()).unwrap_or_default();
        let order = board::COLUMNS[self.boards.column].order;
        nodes.sort_by(|a, b| turned(order(a, b), self.boards).then_with(|| a.name.cmp(&b.name)));
        nodes
    }

    /// Unless another order is asked for: those that live, then those that ended last.
    pub(super) fn sorted_invocations(&self) -> Vec<ListedInvocation> {
        let mut listed = self.look.as_ref().map(|look| look.invocations.clone()).unwrap_or_default();
        listed.sort_by(|a, b| {
            let by = self.invocations.map_or(Ordering::Equal, |sorting| {
                turned((invocations::COLUMNS[sorting.column].order)(a, b), sorting)
            });
            is_live(b).cmp(&is_live(a)).then(by)
        });
        listed
    }

    pub(super) fn press(&mut self, key: KeyEvent) -> Next {
        let is_control = key.modifiers.contains(KeyModifiers::CONTROL);
        match key.code {
            KeyCode::Char('c' | 'd') if is_control => return Next::Leave,
            KeyCode::Char('q') => return Next::Leave,
            KeyCode::Esc => self.close(),
            KeyCode::Char('?' | 'h') | KeyCode::F(1) => self.open(Over::Help),
            KeyCode::Enter => return self.enter(),
            KeyCode::Up | KeyCode::Char('k') => self.go(-1),
            KeyCode::Down | KeyCode::Char('j') => self.go(1),
            KeyCode::PageUp => self.go(-(PAGE as isize)),
            KeyCode::PageDown | KeyCode::Char(' ') => self.go(PAGE as isize),
            KeyCode::Home | KeyCode::Char('g') => self.go(isize::MIN / 2),
            KeyCode::End | KeyCode::Char('G') => self.go(isize::MAX / 2),
            KeyCode::Tab | KeyCode::BackTab | KeyCode::Left | KeyCode::Right => self.turn(),
            KeyCode::Char('s') => self
                .sort(|sorting, count| Sorting { column: (sorting.column + 1) % count, is_reversed: false }),
            KeyCode::Char('S' | 'r') => {
                self.sort(|sorting, _| Sorting { is_reversed: !sorting.is_reversed, ..sorting });
            }
            _ => {}
        }
        Next::Stay
    }

    fn close(&mut self) {
        self.open(Over::Nothing);
    }

    fn open(&mut self, over: Over) {
        self.over = if self.over == over { Over::Nothing } else { over };
        self.scroll = 0;
    }

    fn turn(&mut self) {
        if self.over == Over::Nothing {
            self.pane = if self.pane == Pane::Boards { Pane::Invocations } else { Pane::Boards };
        }
    }

    fn enter(&mut self) -> Next {
        if self.over != Over::Nothing {
            self.close();
            return Next::Stay;
        }
        match (self.pane, self.board.clone(), self.invocation) {
            (Pane::Boards, Some(board), _) => self.open(Over::Board(board)),
            (Pane::Invocations, _, Some(invocation)) => {
                self.open(Over::Explanation(invocation, None));
                return Next::Explain(invocation);
            }
            _ => {}
        }
        Next::Stay
    }

    fn go(&mut self, by: isize) {
        if self.over != Over::Nothing {
            self.scroll = self.scroll.saturating_add_signed(by);
            return;
        }
        match self.pane {
            Pane::Boards => {
                let names: Vec<NodeId> = self.sorted_boards().into_iter().map(|node| node.name).collect();
                self.board = moved(&names, self.board.as_ref(), by);
            }
            Pane::Invocations => {
                let ids: Vec<InvocationId> = self.sorted_invocations().into_iter().map(|of| of.id).collect();
                self.invocation = moved(&ids, self.invocation.as_ref(), by);
            }
        }
    }

    fn sort(&mut self, change: fn(Sorting, usize) -> Sorting) {
        match self.pane {
            Pane::Boards => self.boards = change(self.boards, board::COLUMNS.len()),
            Pane::Invocations => {
                let count = invocations::COLUMNS.len();
                // Before the first change it is by age.
                let before = self.invocations.unwrap_or(Sorting { column: count - 1, is_reversed: false });
                self.invocations = Some(change(before, count));
            }
        }
    }
}

fn turned(order: Ordering, sorting: Sorting) -> Ordering {
    if sorting.is_reversed { order.reverse() } else { order }
}

fn moved<T: Clone + PartialEq>(all: &[T], from: Option<&T>, by: isize) -> Option<T> {
    let last = all.len().checked_sub(1)?;
    let at = from.and_then(|from| all.iter().position(|of| of == from)).unwrap_or(0);
    all.get(at.saturating_add_signed(by).min(last)).cloned()
}
