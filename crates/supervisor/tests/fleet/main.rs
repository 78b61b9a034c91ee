//! Whole fleets of real processes. The workers are shell scripts: `sh` speaks JSON lines on the
//! inherited descriptor 4 as well as any runtime does.

#[cfg(test)]
mod control;
#[cfg(test)]
mod crowd;
#[cfg(test)]
mod ends;
#[cfg(test)]
mod handover;
#[cfg(test)]
mod life;
#[cfg(test)]
mod notify;
#[cfg(test)]
mod postgres;
#[cfg(test)]
mod run;
#[cfg(test)]
mod signals;
