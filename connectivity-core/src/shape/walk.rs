//! What a walk remembers between its passes, and how it decides what to answer next.
//!
//! A visitor takes one answer and is gone, so a type with variants, or one that refuses an answer,
//! needs several passes from the root. Each pass must learn something: a new place, a variant that
//! is done, an answer that was refused. When one learns nothing, the walk is over; so it ends
//! whatever a `Deserialize` does.

use std::collections::HashMap;

use super::node::{Id, Kind, Member, Node};

/// Deeper types are not walked further: a type that has no finite value, or one that no codec would
/// read either.
const MAX_DEPTH: usize = 100;

/// A graph that grows beyond this is cut; it is the graph of no contract that people read.
const MAX_NODES: usize = 20_000;

/// No walk needs as many passes; a `Deserialize` that answers at random does.
const MAX_PASSES: usize = 10_000;

/// Elements of a tuple that have a place of their own; those of a longer one are all of one type,
/// or nobody could write it.
const MAX_TUPLE: usize = 64;

/// What tells one type from another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Key {
    /// The name of its visitor, what it asks for, and its names.
    Type(&'static str, &'static str, &'static [&'static str]),
    /// The content of the variant at this place; the visitors of all variants of an enum have one
    /// name.
    Content(Id),
}

/// Why a pass ends early.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Halt {
    /// Something was learnt; the next pass goes another way.
    Again,
    /// The type takes none of the answers there are.
    Refused,
    /// A type contains itself, and no variant is known yet that ends it.
    Stuck,
}

/// What is known of a place beside what stands there.
#[derive(Clone, Debug, Default)]
struct Mark {
    /// Which answer is given here.
    choice: usize,
    /// All answers were refused.
    exhausted: bool,
    /// Nothing is left to learn here.
    closed: bool,
    /// No value can be made here.
    refused: bool,
    /// No value can be made here yet.
    stuck: bool,
    /// A pass is inside.
    active: bool,
    /// The variant that a value can be made of.
    known: Option<usize>,
    /// The struct takes its fields by position only.
    positional: bool,
}

/// The memory of a walk.
#[derive(Debug, Default)]
pub(super) struct Walk {
    nodes: Vec<Node>,
    marks: Vec<Mark>,
    types: HashMap<Key, Id>,
    halt: Option<Halt>,
    /// The place that was answered last, and how many answers it has: whoever refuses next has
    /// probably seen that one.
    last: Option<(Id, usize)>,
    depth: usize,
    changes: usize,
}

impl Walk {
    /// Starts with one place, of which nothing is known.
    pub(super) fn new() -> Self {
        let mut walk = Self::default();
        walk.place();
        walk
    }

    pub(super) fn into_nodes(self) -> Vec<Node> {
        self.nodes
    }

    /// Runs passes until one learns nothing.
    pub(super) fn run(mut pass: impl FnMut() -> usize) {
        let mut before = 0;
        for _ in 0..MAX_PASSES {
            let changes = pass();
            if changes == before {
                return;
            }
            before = changes;
        }
    }

    /// Ends a pass; counts what was learnt so far.
    pub(super) fn end_pass(&mut self, ok: bool) -> usize {
        self.leave_child(0, ok, false);
        self.halt = None;
        self.last = None;
        self.changes
    }

    fn place(&mut self) -> Id {
        self.nodes.push(Node::default());
        self.marks.push(Mark::default());
        self.changes += 1;
        self.nodes.len() - 1
    }

    fn places(&mut self, count: usize) -> Vec<Id> {
        let own: Vec<_> = (0..count.min(MAX_TUPLE)).map(|_| self.place()).collect();
        (0..count).filter_map(|at| own.get(at).or(own.last()).copied()).collect()
    }

    fn members(&mut self, names: &'static [&'static str]) -> Vec<Member> {
        names.iter().map(|&name| Member { name, at: self.place() }).collect()
    }

    pub(super) fn option(&mut self) -> Kind {
        Kind::Option(self.place())
    }

    pub(super) fn newtype(&mut self) -> Kind {
        Kind::Newtype(self.place())
    }

    pub(super) fn seq(&mut self) -> Kind {
        Kind::Seq(self.place())
    }

    pub(super) fn map(&mut self) -> Kind {
        Kind::Map(self.place(), self.place())
    }

    pub(super) fn tuple(&mut self, len: usize) -> Kind {
        Kind::Tuple(self.places(len))
    }

    pub(super) fn fields(&mut self, names: &'static [&'static str]) -> Kind {
        Kind::Struct(self.members(names))
    }

    pub(super) fn variants(&mut self, names: &'static [&'static str]) -> Kind {
        Kind::Enum(self.members(names))
    }

    pub(super) fn children(&self, at: Id) -> Vec<Id> {
        self.nodes[at].children()
    }

    /// Notes what stands at a place, or what else does; says where the note is.
    fn note(&mut self, at: Id, kind: Kind) -> Id {
        if self.nodes[at].kind.is_none() {
            self.nodes[at].kind = Some(kind);
            self.changes += 1;
            return at;
        }
        let noted = |place: &Id| self.nodes[*place].kind.as_ref() == Some(&kind);
        if let Some(place) = std::iter::once(at)
            .chain(self.nodes[at].others.iter().copied())
            .find(|place| noted(place))
        {
            return place;
        }
        let other = self.place();
        self.nodes[other].kind = Some(kind);
        self.nodes[at].others.push(other);
        other
    }

    /// Notes a leaf; says which of its answers to give.
    pub(super) fn leaf(&mut self, at: Id, kind: Kind, answers: usize) -> usize {
        let place = self.note(at, kind);
        self.last = Some((place, answers));
        self.marks[place].choice
    }

    /// Enters a type used at a place. Says where its own places are, and whether it is entered
    /// within itself: then a pass only looks for the shortest value. `None` where it is too deep.
    pub(super) fn enter(
        &mut self,
        at: Id,
        key: Key,
        make: impl FnOnce(&mut Self) -> Kind,
    ) -> Option<(Id, bool)> {
        if self.depth >= MAX_DEPTH || self.nodes.len() > MAX_NODES {
            self.halt = Some(Halt::Refused);
            return None;
        }
        let known = self.types.get(&key).copied();
        let own = known.unwrap_or_else(|| {
            let own = self.place();
            self.types.insert(key, own);
            self.nodes[own].kind = Some(make(self));
            own
        });
        self.note(at, Kind::Is(own));
        self.depth += 1;
        // What is refused before anything was answered in here is not the fault of what was
        // answered before.
        self.last = None;
        Some((own, std::mem::replace(&mut self.marks[own].active, true)))
    }

    /// Leaves a type; `within` is what [`enter`](Self::enter) said.
    pub(super) fn leave(&mut self, own: Id, within: bool, lazy: bool, ok: bool) {
        self.depth -= 1;
        self.marks[own].active = within;
        match (ok, lazy) {
            (true, false) => self.close(own),
            (true, true) => {}
            (false, _) => self.fail(own),
        }
        if ok {
            self.halt = None;
        }
    }

    fn close(&mut self, own: Id) {
        let children = self.nodes[own].children();
        if !matches!(self.nodes[own].kind, Some(Kind::Enum(_))) {
            children.iter().for_each(|&child| self.close_untouched(child));
        }
        if children.iter().all(|&child| self.is_closed(child)) {
            self.set(own, |mark| &mut mark.closed);
        }
    }

    /// A place that a type has, and never asks for.
    fn close_untouched(&mut self, at: Id) {
        if self.nodes[at].kind.is_none() && !self.marks[at].stuck {
            self.set(at, |mark| &mut mark.closed);
        }
    }

    fn fail(&mut self, own: Id) {
        let omitted = self.omitted(own);
        let halt = self.halt.or(omitted).unwrap_or_else(|| self.refuse());
        let more_to_learn =
            omitted.is_some() && self.taken(own).iter().any(|field| !self.is_closed(field.at));
        self.halt = Some(if more_to_learn { Halt::Again } else { halt });
    }

    /// Tries another answer at the place that was answered last.
    fn refuse(&mut self) -> Halt {
        let Some((at, answers)) = self.last.filter(|(at, _)| !self.marks[*at].exhausted) else {
            return Halt::Refused;
        };
        self.changes += 1;
        let mark = &mut self.marks[at];
        mark.choice += 1;
        if mark.choice < answers {
            return Halt::Again;
        }
        mark.choice = 0;
        mark.exhausted = true;
        Halt::Refused
    }

    fn set(&mut self, at: Id, flag: impl FnOnce(&mut Mark) -> &mut bool) {
        let was = std::mem::replace(flag(&mut self.marks[at]), true);
        self.changes += usize::from(!was);
    }

    /// Says whether nothing is left to learn at a place. A type that a pass is inside of learns for
    /// itself.
    fn is_closed(&self, at: Id) -> bool {
        let (node, mark) = (&self.nodes[at], &self.marks[at]);
        let own = mark.closed
            || match node.kind {
                Some(Kind::Scalar(_) | Kind::Error | Kind::Any(_) | Kind::Identifier) => true,
                Some(Kind::Is(own)) => {
                    let mark = &self.marks[own];
                    mark.closed || mark.refused || mark.active
                }
                _ => false,
            };
        mark.refused || own && node.others.iter().all(|&other| self.is_closed(other))
    }

    fn is_off(&self, at: Id) -> bool {
        self.marks[at].refused || self.marks[at].stuck
    }

    /// Ends the visit of a place. With `avoidable` the type can do without it: the next pass will.
    pub(super) fn leave_child(&mut self, at: Id, ok: bool, avoidable: bool) {
        if ok {
            // A type may swallow an error and go on.
            self.halt = None;
            return;
        }
        let halt = self.halt.unwrap_or_else(|| self.refuse());
        match halt {
            Halt::Refused if avoidable => self.set(at, |mark| &mut mark.refused),
            Halt::Stuck if avoidable => self.set(at, |mark| &mut mark.stuck),
            Halt::Again | Halt::Refused | Halt::Stuck => {}
        }
        self.halt = Some(if avoidable { Halt::Again } else { halt });
    }

    /// Says whether an option has a value, or a sequence or a map an element.
    pub(super) fn wants(&mut self, own: Id, lazy: bool) -> bool {
        let children = self.children(own);
        let filled = self.marks[own].choice == 1;
        let open = !lazy && children.iter().any(|&child| !self.is_closed(child));
        let wants = (filled || open) && !children.iter().any(|&child| self.is_off(child));
        if !wants {
            self.last = Some((own, 2));
        }
        wants
    }

    /// Chooses a variant: one that is not done, else one that a value can be made of.
    pub(super) fn pick(&mut self, own: Id, lazy: bool) -> Option<(usize, Member)> {
        let members = self.members_of(own);
        let open = |member: &Member| !self.is_closed(member.at) && !self.marks[member.at].stuck;
        let fresh = if lazy { None } else { members.iter().position(open) };
        let picked =
            fresh.or(self.marks[own].known).and_then(|at| Some((at, members.get(at)?.clone())));
        if picked.is_none() {
            let stuck = lazy || members.iter().any(|member| self.marks[member.at].stuck);
            self.halt = Some(if stuck { Halt::Stuck } else { Halt::Refused });
        }
        picked
    }

    /// Remembers that a value can be made of a variant. Whoever waited for one can go on.
    pub(super) fn made(&mut self, own: Id, variant: usize, at: Id) {
        self.close_untouched(at);
        if self.marks[own].known.is_none() {
            self.marks[own].known = Some(variant);
            self.marks.iter_mut().for_each(|mark| mark.stuck = false);
            self.changes += 1;
        }
    }

    fn members_of(&self, own: Id) -> Vec<Member> {
        match &self.nodes[own].kind {
            Some(Kind::Struct(members) | Kind::Enum(members)) => members.clone(),
            _ => Vec::new(),
        }
    }

    /// The fields of a struct that a value can be made of.
    pub(super) fn taken(&self, own: Id) -> Vec<Member> {
        let mut members = self.members_of(own);
        members.retain(|member| !self.is_off(member.at));
        members
    }

    /// Why fields of a struct are left out, if some are: so that they do not hide those after them.
    fn omitted(&self, own: Id) -> Option<Halt> {
        if !matches!(self.nodes[own].kind, Some(Kind::Struct(_))) {
            return None;
        }
        let children = self.children(own);
        let off = |flag: fn(&Mark) -> bool| children.iter().any(|&child| flag(&self.marks[child]));
        let stuck = off(|mark| mark.stuck).then_some(Halt::Stuck);
        stuck.or_else(|| off(|mark| mark.refused).then_some(Halt::Refused))
    }

    pub(super) fn is_positional(&self, own: Id) -> bool {
        self.marks[own].positional
    }

    /// The struct took no name: the next pass gives it its fields by position, as bincode does.
    pub(super) fn took_no_name(&mut self, own: Id) {
        if self.halt.is_none() && !self.marks[own].positional {
            self.set(own, |mark| &mut mark.positional);
            self.halt = Some(Halt::Again);
        }
    }

    /// The struct knows `given` as the same field as one before it, by the name `canonical`: one of
    /// the two is an alias.
    pub(super) fn same_field(&mut self, own: Id, given: &'static str, canonical: &'static str) {
        let Some(Kind::Struct(members)) = &mut self.nodes[own].kind else { return };
        let Some(at) = members.iter().position(|member| member.name == given) else { return };
        // The names of one field stand together.
        let alias = if given == canonical { at.checked_sub(1) } else { Some(at) };
        if let Some(alias) = alias {
            members.remove(alias);
            self.changes += 1;
            self.halt = Some(Halt::Again);
        }
    }
}
