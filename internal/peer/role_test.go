package peer

import (
	"testing"
	"time"
)

func TestRoleOf(t *testing.T) {
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	ago := func(d time.Duration) time.Time { return now.Add(-d) }
	for name, c := range map[string]struct {
		site, preferred string
		peer            State
		want            Role
	}{
		"a single site acts":                                                {"a", "b", State{}, Role{Acts: true, InTouch: true}},
		"the preferred site acts":                                           {"a", "a", State{Configured: true, Reachable: true}, Role{Acts: true, InTouch: true}},
		"without a preference each acts":                                    {"b", "", State{Configured: true, Reachable: true}, Role{Acts: true, InTouch: true}},
		"the preferred site acts alone":                                     {"a", "a", State{Configured: true, SilentSince: ago(time.Hour), Silent: true}, Role{Acts: true}},
		"the other one watches":                                             {"b", "a", State{Configured: true, Reachable: true}, Role{InTouch: true, Actor: "a"}},
		"fourteen minutes of silence are not enough":                        {"b", "a", State{Configured: true, SilentSince: ago(14 * time.Minute), Silent: true}, Role{Actor: "a"}},
		"after fifteen it stands in":                                        {"b", "a", State{Configured: true, SilentSince: ago(15 * time.Minute), Silent: true}, Role{Acts: true, Deputy: true}},
		"a first lost probe after a day of refusals is no silence of a day": {"b", "a", State{Configured: true, Since: ago(24 * time.Hour), SilentSince: now, Silent: true}, Role{Actor: "a"}},
		"a credential that is refused is not a lost building":               {"b", "a", State{Configured: true, Since: ago(24 * time.Hour)}, Role{Actor: "a"}},
	} {
		t.Run(name, func(t *testing.T) {
			if got := RoleOf(c.site, c.preferred, c.peer, 15*time.Minute, now); got != c.want {
				t.Errorf("got %+v, want %+v", got, c.want)
			}
		})
	}
}
