// Package calendar answers one question for whoever keeps dated promises: what is to be done now, and when to look again. It is
// pure: the plan, the time and what has been done so far go in, actions come out; no clock, no timer, no cron, no Kubernetes.
//
// Words, explained once:
//
//   - local time: an absolute time on the wall in Europe/Rome, as a provider's letter prints it ([Local]);
//   - phase: something that a letter promises, a moment or a span ([Phase]); some are derived, because no letter prints them;
//   - slot: one thing to act on once, the beginning or the end of a phase, a copy pass, a nightly run ([Slot]). A slot's name
//     depends on the phase or on the day, not on the hour, so that a corrected date does not make a second slot;
//   - due: a slot's time, or the first opening of the windows after it if the slot is work;
//   - missed: not started within [Grace] of being due, whatever the reason;
//   - settled: done, or recorded as missed; a settled slot is never acted on again;
//   - window: hours in which work may start, or may not ([Windows]).
//
// The parts: [Plan.Settle] checks a letter's plan and works out its [Timetable]; [Timetable.Next] and [Schedule.Next] decide.
package calendar
