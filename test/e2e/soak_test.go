//go:build soak

package e2e

// lettered is how many messages a mailbox of the old provider has, lettersPerSecond how fast a kill can hit the copy in the middle.
const lettered, lettersPerSecond = 2000, 200
