//! Breadth first through every reachable state; the shortest way to what is broken is the report.

use super::world::{Laws, Mutation, Program, Step, World, dead, kind};
use std::collections::HashMap;
use std::collections::VecDeque;
use std::fmt;
use std::hash::{DefaultHasher, Hasher};

/// What is explored.
#[derive(Debug, Clone, Copy)]
pub(super) struct Setup {
    /// The slots that the fleet starts with.
    pub(super) slots: usize,
    /// The slots that it can be scaled to.
    pub(super) most: usize,
    /// What runs in them.
    pub(super) program: Program,
    /// Whether the user asks for stop-then-start as well.
    pub(super) restarts: bool,
    /// Whether the fleet may be stopped and its supervisor killed; else it is explored from when it first serves.
    pub(super) ends: bool,
    /// Whether failures are counted up to parking; else each is forgiven at once.
    pub(super) parks: bool,
    /// How many slots that are not being replaced may be down at once before the adversary spares the others; it
    /// may harm any next when one is back.
    pub(super) troubled: usize,
    pub(super) mutation: Option<Mutation>,
}

/// How much there was to see.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) states: usize,
    pub(super) steps: usize,
}

/// What is broken, and the shortest way there.
#[derive(Debug)]
pub(super) struct Broken {
    pub(super) what: String,
    pub(super) way: Vec<Step>,
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}, after", self.what)?;
        self.way
            .iter()
            .try_for_each(|step| writeln!(f, "  {step:?}"))
    }
}

/// Nothing follows: a state in which that schedule has nothing to do.
const NONE: usize = usize::MAX;

/// How a state was reached, and where the two schedules without an adversary lead from it.
struct Node {
    from: usize,
    by: Step,
    rests: bool,
    nothing_rolls: bool,
    kind: usize,
    dead: usize,
}

/// A state is known by 128 bits of two independently seeded hashes: among ten million states two that share them
/// are met with a probability of 10⁻²⁵.
pub(super) fn digest(world: &World) -> u128 {
    let half = |seed: u64| {
        let mut hasher = DefaultHasher::new();
        hasher.write_u64(seed);
        world.digest(&mut hasher);
        u128::from(hasher.finish())
    };
    half(1) << 64 | half(2)
}

impl Setup {
    pub(super) const fn laws(self) -> Laws {
        Laws {
            slots: self.slots,
            most: self.most,
            program: self.program,
            restarts: self.restarts,
            ends: self.ends,
            parks: self.parks,
            mutation: self.mutation,
        }
    }
}

/// Visits every state; `visit` sees each once.
pub(super) fn explore(setup: Setup, mut visit: impl FnMut(&World)) -> Result<Found, Broken> {
    let laws = setup.laws();
    let broken = |what: &str, way| Broken {
        what: what.to_owned(),
        way,
    };
    let first = World::new(laws).map_err(|what| broken(what, Vec::new()))?;
    let mut known = HashMap::from([(digest(&first), 0)]);
    let mut nodes = vec![Node::new(NONE, Step::Stop, &first)];
    let mut frontier = VecDeque::from([(0, first)]);
    let mut taken = 0;
    while let Some((from, world)) = frontier.pop_front() {
        visit(&world);
        let steps = world.steps(laws, setup.troubled);
        let (kindly, deadly) = (kind(&steps, &world), dead(&steps, &world));
        for step in steps {
            taken += 1;
            let next = world.after(step, laws).map_err(|what| {
                let mut way = way(&nodes, from);
                way.push(step);
                broken(what, way)
            })?;
            let to = *known.entry(digest(&next)).or_insert_with(|| {
                nodes.push(Node::new(from, step, &next));
                frontier.push_back((nodes.len() - 1, next));
                nodes.len() - 1
            });
            if kindly == Some(step) {
                nodes[from].kind = to;
            }
            if deadly == Some(step) {
                nodes[from].dead = to;
            }
        }
    }
    let ends = "a reload does not end though every deadline came";
    let recovers = "the fleet does not recover though nobody harms it any more";
    leads_to(&nodes, |node| node.nothing_rolls, |node| node.dead)
        .map_err(|at| broken(ends, way(&nodes, at)))?;
    leads_to(&nodes, |node| node.rests, |node| node.kind)
        .map_err(|at| broken(recovers, way(&nodes, at)))?;
    Ok(Found {
        states: nodes.len(),
        steps: taken,
    })
}

impl Node {
    fn new(from: usize, by: Step, world: &World) -> Self {
        Self {
            from,
            by,
            rests: world.rests(),
            nothing_rolls: world.nothing_rolls(),
            kind: NONE,
            dead: NONE,
        }
    }
}

fn way(nodes: &[Node], mut at: usize) -> Vec<Step> {
    let mut way = Vec::new();
    while nodes[at].from != NONE {
        way.push(nodes[at].by);
        at = nodes[at].from;
    }
    way.reverse();
    way
}

/// Whether following `next` from every state comes to the goal; a state that it does not lead from otherwise.
fn leads_to(
    nodes: &[Node],
    goal: impl Fn(&Node) -> bool,
    next: impl Fn(&Node) -> usize,
) -> Result<(), usize> {
    // In which walk a state was seen first; 0 is not yet.
    let mut seen = vec![0; nodes.len()];
    for start in 0..nodes.len() {
        let walk = start + 1;
        let mut at = start;
        while seen[at] == 0 {
            seen[at] = walk;
            if goal(&nodes[at]) {
                break;
            }
            at = next(&nodes[at]);
            if at == NONE {
                return Err(start);
            }
        }
        // Back in the same walk without the goal is a circle; an earlier walk came to it.
        if seen[at] == walk && !goal(&nodes[at]) {
            return Err(start);
        }
    }
    Ok(())
}
