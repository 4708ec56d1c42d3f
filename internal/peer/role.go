package peer

import "time"

// Role is a site's part in work that one site does for both: the preferred one, and in its place the other one once that has been
// silent for long enough. Whoever begins to act in another's place raises an epoch, which stops the other should both live.
type Role struct {
	// Acts says that this site does the work.
	Acts bool
	// InTouch says that the sites see each other, or that there is one only.
	InTouch bool
	// Deputy says that it acts in the preferred site's place.
	Deputy bool
	// Actor is the site that does it, where it is not this one.
	Actor string
}

// RoleOf is the role of a site, which stands in for the preferred one after that has been silent for patience. A peer that refuses our
// credential is not a dead peer. Pure.
func RoleOf(site, preferred string, other State, patience time.Duration, now time.Time) Role {
	switch {
	case !other.Configured:
		return Role{Acts: true, InTouch: true}
	case preferred == site || preferred == "":
		return Role{Acts: true, InTouch: other.Reachable}
	case other.Reachable:
		return Role{InTouch: true, Actor: preferred}
	case other.Silent && now.Sub(other.SilentSince) >= patience:
		return Role{Acts: true, Deputy: true}
	default:
		return Role{Actor: preferred}
	}
}
