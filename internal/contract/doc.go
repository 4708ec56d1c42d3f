// Package contract says who is admitted under a contract, who waits, and in which place. It is a function over everything that
// draws on one contract, so that two sites that see the same come to the same answer without asking each other, in whatever
// order they came to see it. It is pure: it knows neither Kubernetes nor a clock.
//
// Four rules decide:
//
//   - What is provisioned counts, whether its resource is still there or not: a mailbox that was closed keeps its mail, and its
//     room with it. So deleting a mailbox and making it again gains nothing.
//   - What is provisioned stays, whatever becomes of the contract: a contract that shrinks or ends turns nobody out.
//   - Who asked first is first: requestedAt, then the address. Who does not fit waits, and does not keep those behind from
//     what would not have been enough for it.
//   - A Massive mailbox needs a grant besides room.
package contract
