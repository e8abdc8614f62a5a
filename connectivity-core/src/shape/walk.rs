//! The state of a walk between its passes, and the choice of the next sample value.
//!
//! A visitor is consumed by the first value it receives, so a type with variants, or one that
//! rejects a sample, needs several passes from the root. Each pass must make progress: a new node,
//! an explored variant, a rejected sample. The walk ends at the first pass without progress, so it
//! terminates whatever a `Deserialize` does.

use std::collections::HashMap;

use super::node::{Id, Kind, Member, Node};

/// Maximum nesting of a walk. A deeper type has no finite value, or no codec would decode it
/// either.
const MAX_DEPTH: usize = 100;

/// Maximum size of the graph. No contract written by people comes near it.
const MAX_NODES: usize = 20_000;

/// Maximum number of passes. Only a `Deserialize` that behaves randomly needs as many.
const MAX_PASSES: usize = 10_000;

/// Maximum number of tuple elements with a node each; further elements share the last node. A
/// longer tuple is in practice an array with one element type.
const MAX_TUPLE: usize = 64;

/// Identifies a type during a walk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Key {
    /// The name of the visitor, the kind of value it requests, and its field or variant names.
    Type(&'static str, &'static str, &'static [&'static str]),
    /// The content of the variant at this node. The visitors of all variants of an enum share one
    /// name, so the name cannot identify it.
    Content(Id),
}

/// Why a pass ended early.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Halt {
    /// The pass made progress; the next pass takes another path.
    Retry,
    /// The type rejects all sample values.
    Refused,
    /// The type contains itself, and no variant that ends the recursion has been found yet.
    Stuck,
}

/// The exploration state of a node.
#[derive(Clone, Debug, Default)]
struct Mark {
    /// Index of the sample value to return here.
    choice: usize,
    /// Whether all sample values were rejected.
    exhausted: bool,
    /// Whether there is nothing left to learn here.
    explored: bool,
    /// Whether no value can be produced here.
    refused: bool,
    /// Whether no value can be produced here yet.
    stuck: bool,
    /// Whether the current pass is inside this type.
    active: bool,
    /// A variant for which a value can be produced.
    usable_variant: Option<usize>,
    /// Whether the struct accepts its fields by position only.
    positional: bool,
}

/// The state of a walk.
#[derive(Debug, Default)]
pub(super) struct Walk {
    nodes: Vec<Node>,
    marks: Vec<Mark>,
    types: HashMap<Key, Id>,
    halt: Option<Halt>,
    /// The node of the last sample value, and its number of samples. The next rejection is probably
    /// about this sample.
    last_sample: Option<(Id, usize)>,
    depth: usize,
    discoveries: usize,
}

impl Walk {
    /// Starts with a single node of unknown kind.
    pub(super) fn new() -> Self {
        let mut walk = Self::default();
        walk.new_node();
        walk
    }

    pub(super) fn into_nodes(self) -> Vec<Node> {
        self.nodes
    }

    /// Runs passes until one makes no progress. `pass` returns the total number of discoveries.
    pub(super) fn run(mut pass: impl FnMut() -> usize) {
        let mut before = 0;
        for _ in 0..MAX_PASSES {
            let discoveries = pass();
            if discoveries == before {
                return;
            }
            before = discoveries;
        }
    }

    /// Ends a pass and returns the number of discoveries so far.
    pub(super) fn end_pass(&mut self, ok: bool) -> usize {
        self.leave_child(0, ok, false);
        self.halt = None;
        self.last_sample = None;
        self.discoveries
    }

    fn new_node(&mut self) -> Id {
        self.nodes.push(Node::default());
        self.marks.push(Mark::default());
        self.discoveries += 1;
        self.nodes.len() - 1
    }

    fn new_nodes(&mut self, count: usize) -> Vec<Id> {
        let nodes: Vec<_> = (0..count.min(MAX_TUPLE)).map(|_| self.new_node()).collect();
        (0..count).filter_map(|at| nodes.get(at).or(nodes.last()).copied()).collect()
    }

    fn members(&mut self, names: &'static [&'static str]) -> Vec<Member> {
        names.iter().map(|&name| Member { name, at: self.new_node() }).collect()
    }

    pub(super) fn option(&mut self) -> Kind {
        Kind::Option(self.new_node())
    }

    pub(super) fn newtype(&mut self) -> Kind {
        Kind::Newtype(self.new_node())
    }

    pub(super) fn seq(&mut self) -> Kind {
        Kind::Seq(self.new_node())
    }

    pub(super) fn map(&mut self) -> Kind {
        Kind::Map(self.new_node(), self.new_node())
    }

    pub(super) fn tuple(&mut self, len: usize) -> Kind {
        Kind::Tuple(self.new_nodes(len))
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

    /// Records the kind of a node, or an alternative to the kind recorded before. Returns the node
    /// that holds the record.
    fn record(&mut self, at: Id, kind: Kind) -> Id {
        if self.nodes[at].kind.is_none() {
            self.nodes[at].kind = Some(kind);
            self.discoveries += 1;
            return at;
        }
        let has_kind = |node: &Id| self.nodes[*node].kind.as_ref() == Some(&kind);
        if let Some(recorded) =
            std::iter::once(at).chain(self.nodes[at].others.iter().copied()).find(has_kind)
        {
            return recorded;
        }
        let other = self.new_node();
        self.nodes[other].kind = Some(kind);
        self.nodes[at].others.push(other);
        other
    }

    /// Records a leaf with this number of sample values. Returns the index of the sample to use.
    pub(super) fn leaf(&mut self, at: Id, kind: Kind, samples: usize) -> usize {
        let node = self.record(at, kind);
        self.last_sample = Some((node, samples));
        self.marks[node].choice
    }

    /// Enters the type used at node `at`. Returns the node of the type itself, and whether the pass
    /// is already inside it; then the pass only looks for the shortest value. Returns `None` if the
    /// type is nested too deeply.
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
        let seen_before = self.types.get(&key).copied();
        let type_id = seen_before.unwrap_or_else(|| {
            let type_id = self.new_node();
            self.types.insert(key, type_id);
            self.nodes[type_id].kind = Some(make(self));
            type_id
        });
        self.record(at, Kind::Is(type_id));
        self.depth += 1;
        // A rejection before the first sample in this type is not about a sample given outside of
        // it.
        self.last_sample = None;
        Some((type_id, std::mem::replace(&mut self.marks[type_id].active, true)))
    }

    /// Leaves a type. `was_active` is the value that [`enter`](Self::enter) returned.
    pub(super) fn leave(&mut self, type_id: Id, was_active: bool, minimal: bool, ok: bool) {
        self.depth -= 1;
        self.marks[type_id].active = was_active;
        match (ok, minimal) {
            (true, false) => self.mark_explored(type_id),
            (true, true) => {}
            (false, _) => self.fail(type_id),
        }
        if ok {
            self.halt = None;
        }
    }

    fn mark_explored(&mut self, type_id: Id) {
        let children = self.nodes[type_id].children();
        if !matches!(self.nodes[type_id].kind, Some(Kind::Enum(_))) {
            children.iter().for_each(|&child| self.mark_unused_explored(child));
        }
        if children.iter().all(|&child| self.is_explored(child)) {
            self.set_flag(type_id, |mark| &mut mark.explored);
        }
    }

    /// Marks a node as explored if the type never requests its value.
    fn mark_unused_explored(&mut self, at: Id) {
        if self.nodes[at].kind.is_none() && !self.marks[at].stuck {
            self.set_flag(at, |mark| &mut mark.explored);
        }
    }

    fn fail(&mut self, type_id: Id) {
        let omission = self.omission(type_id);
        let halt = self.halt.or(omission).unwrap_or_else(|| self.try_next_sample());
        let has_more_to_learn = omission.is_some()
            && self.usable_fields(type_id).iter().any(|field| !self.is_explored(field.at));
        self.halt = Some(if has_more_to_learn { Halt::Retry } else { halt });
    }

    /// Selects the next sample at the node of the last sample.
    fn try_next_sample(&mut self) -> Halt {
        let Some((at, samples)) = self.last_sample.filter(|(at, _)| !self.marks[*at].exhausted)
        else {
            return Halt::Refused;
        };
        self.discoveries += 1;
        let mark = &mut self.marks[at];
        mark.choice += 1;
        if mark.choice < samples {
            return Halt::Retry;
        }
        mark.choice = 0;
        mark.exhausted = true;
        Halt::Refused
    }

    fn set_flag(&mut self, at: Id, flag: impl FnOnce(&mut Mark) -> &mut bool) {
        let was_set = std::mem::replace(flag(&mut self.marks[at]), true);
        self.discoveries += usize::from(!was_set);
    }

    /// Returns whether there is nothing left to learn at a node. A use of a type that the pass is
    /// inside of counts as explored: the type is explored at the outer use.
    fn is_explored(&self, at: Id) -> bool {
        let (node, mark) = (&self.nodes[at], &self.marks[at]);
        let is_explored = mark.explored
            || match node.kind {
                Some(Kind::Scalar(_) | Kind::Error | Kind::Any(_) | Kind::Identifier) => true,
                Some(Kind::Is(type_id)) => {
                    let mark = &self.marks[type_id];
                    mark.explored || mark.refused || mark.active
                }
                _ => false,
            };
        mark.refused || is_explored && node.others.iter().all(|&other| self.is_explored(other))
    }

    fn is_unusable(&self, at: Id) -> bool {
        self.marks[at].refused || self.marks[at].stuck
    }

    /// Ends the visit of a node. If the visit failed and the type can do without the node
    /// (`skippable`), the next pass leaves the node out.
    pub(super) fn leave_child(&mut self, at: Id, ok: bool, skippable: bool) {
        if ok {
            // A type may swallow an error and continue.
            self.halt = None;
            return;
        }
        let halt = self.halt.unwrap_or_else(|| self.try_next_sample());
        match halt {
            Halt::Refused if skippable => self.set_flag(at, |mark| &mut mark.refused),
            Halt::Stuck if skippable => self.set_flag(at, |mark| &mut mark.stuck),
            Halt::Retry | Halt::Refused | Halt::Stuck => {}
        }
        self.halt = Some(if skippable { Halt::Retry } else { halt });
    }

    /// Returns whether this pass gives an option a value, or a sequence or a map an element.
    pub(super) fn should_fill(&mut self, type_id: Id, minimal: bool) -> bool {
        let children = self.children(type_id);
        let chosen = self.marks[type_id].choice == 1;
        let unexplored = !minimal && children.iter().any(|&child| !self.is_explored(child));
        let fill = (chosen || unexplored) && !children.iter().any(|&child| self.is_unusable(child));
        if !fill {
            self.last_sample = Some((type_id, 2));
        }
        fill
    }

    /// Picks a variant: preferably an unexplored one, else one for which a value can be produced.
    pub(super) fn pick_variant(&mut self, type_id: Id, minimal: bool) -> Option<(usize, Member)> {
        let members = self.members_of(type_id);
        let is_open =
            |member: &Member| !self.is_explored(member.at) && !self.marks[member.at].stuck;
        let unexplored = if minimal { None } else { members.iter().position(is_open) };
        let picked = unexplored
            .or(self.marks[type_id].usable_variant)
            .and_then(|at| Some((at, members.get(at)?.clone())));
        if picked.is_none() {
            let stuck = minimal || members.iter().any(|member| self.marks[member.at].stuck);
            self.halt = Some(if stuck { Halt::Stuck } else { Halt::Refused });
        }
        picked
    }

    /// Records a variant for which a value was produced, and clears all `stuck` flags: recursive
    /// types can now use it.
    pub(super) fn record_variant(&mut self, type_id: Id, variant: usize, at: Id) {
        self.mark_unused_explored(at);
        if self.marks[type_id].usable_variant.is_none() {
            self.marks[type_id].usable_variant = Some(variant);
            self.marks.iter_mut().for_each(|mark| mark.stuck = false);
            self.discoveries += 1;
        }
    }

    fn members_of(&self, type_id: Id) -> Vec<Member> {
        match &self.nodes[type_id].kind {
            Some(Kind::Struct(members) | Kind::Enum(members)) => members.clone(),
            _ => Vec::new(),
        }
    }

    /// Returns the fields of a struct for which a value can be produced.
    pub(super) fn usable_fields(&self, type_id: Id) -> Vec<Member> {
        let mut members = self.members_of(type_id);
        members.retain(|member| !self.is_unusable(member.at));
        members
    }

    /// Returns why fields of a struct are left out, if any are. They are left out so that they do
    /// not hide the fields after them.
    fn omission(&self, type_id: Id) -> Option<Halt> {
        if !matches!(self.nodes[type_id].kind, Some(Kind::Struct(_))) {
            return None;
        }
        let children = self.children(type_id);
        let any = |flag: fn(&Mark) -> bool| children.iter().any(|&child| flag(&self.marks[child]));
        let stuck = any(|mark| mark.stuck).then_some(Halt::Stuck);
        stuck.or_else(|| any(|mark| mark.refused).then_some(Halt::Refused))
    }

    pub(super) fn is_positional(&self, type_id: Id) -> bool {
        self.marks[type_id].positional
    }

    /// Switches a struct that accepts no field names to fields by position, as in bincode, from the
    /// next pass on.
    pub(super) fn switch_to_positional(&mut self, type_id: Id) {
        if self.halt.is_none() && !self.marks[type_id].positional {
            self.set_flag(type_id, |mark| &mut mark.positional);
            self.halt = Some(Halt::Retry);
        }
    }

    /// Removes an alias: the struct reported `given` as a duplicate of the field `canonical`, so
    /// one of two adjacent names is an alias.
    pub(super) fn remove_alias(
        &mut self,
        type_id: Id,
        given: &'static str,
        canonical: &'static str,
    ) {
        let Some(Kind::Struct(members)) = &mut self.nodes[type_id].kind else { return };
        let Some(at) = members.iter().position(|member| member.name == given) else { return };
        // All names of one field are adjacent.
        let alias = if given == canonical { at.checked_sub(1) } else { Some(at) };
        if let Some(alias) = alias {
            members.remove(alias);
            self.discoveries += 1;
            self.halt = Some(Halt::Retry);
        }
    }
}
