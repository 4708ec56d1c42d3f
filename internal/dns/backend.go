package dns

import (
	"context"
	"errors"
	"fmt"
)

// Backend is where a domain's records are seen and changed. It has no call that writes blindly.
type Backend interface {
	// Observe looks at every authoritative server.
	Observe(ctx context.Context, domain string) Observation
	// Claim writes to a name that has neither MX nor owner, and only then.
	Claim(ctx context.Context, c Change) error
	// Swap replaces exactly what was seen, and only then.
	Swap(ctx context.Context, c Change) error
}

// Why a write was not made. After any error the name must be observed again; the same message is never sent twice.
var (
	// ErrChanged: the records are no longer those that were seen.
	ErrChanged = errors.New("the records are not those that were seen, nothing was written")
	// ErrClock: the two clocks differ by more than the signature allows (BADTIME).
	ErrClock = errors.New("the clocks differ")
	// ErrKey: the server does not know the key, or holds another secret under its name.
	ErrKey = errors.New("the key is not the server's")
	// ErrRights: the key is right and may not do this.
	ErrRights = errors.New("the key has no right to this")
	// ErrZone: the server is not the primary of the zone.
	ErrZone = errors.New("the server does not take updates of this zone")
	// ErrServer: anything else that the server answered.
	ErrServer = errors.New("the server did not make the update")
	// ErrUnsafe: the change is not one that this room makes.
	ErrUnsafe = errors.New("the change is not safe")
)

// safe refuses a change that no plan makes: one without a set that is no release, or one that alters a set without leaving its owner's mark.
func (c Change) safe() error {
	switch {
	case c.Kind == Releasing && (len(c.Was.MX) == 0 || c.Was.Owner == ""):
		return fmt.Errorf("%w: it removes records of %s that carry no mark", ErrUnsafe, c.Domain)
	case len(c.Will.MX) == 0 && (c.Kind != Releasing || c.Will.Owner != ""):
		return fmt.Errorf("%w: it leaves %s without MX", ErrUnsafe, c.Domain)
	case c.Will.Owner == "" && c.Kind != Releasing && !c.Will.MX.Equal(c.Was.MX):
		return fmt.Errorf("%w: it changes the MX of %s and names no owner", ErrUnsafe, c.Domain)
	case !within(c.Domain, c.Zone):
		return fmt.Errorf("%w: %s is not in zone %s", ErrUnsafe, c.Domain, c.Zone)
	default:
		return nil
	}
}

// free says that the change expects an empty name.
func (c Change) free() bool { return len(c.Was.MX) == 0 && c.Was.Owner == "" }

// Carry makes a change by the backend's call for it.
func Carry(ctx context.Context, b Backend, c Change) error {
	if c.free() {
		return b.Claim(ctx, c)
	}
	return b.Swap(ctx, c)
}
