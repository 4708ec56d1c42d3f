package mailboxmigration

import (
	"testing"

	"k8s.io/utils/ptr"

	"github.com/pec-operator/pec-operator/api/v1alpha1"
	"github.com/pec-operator/pec-operator/internal/calendar"
	"github.com/pec-operator/pec-operator/internal/peer"
)

func TestPartOf(t *testing.T) {
	single, first, alone := peer.Role{Acts: true, InTouch: true}, peer.Role{Acts: true, InTouch: true}, peer.Role{Acts: true}
	watcher, cutOff, deputy := peer.Role{InTouch: true, Actor: "a"}, peer.Role{Actor: "a"}, peer.Role{Acts: true, Deputy: true}
	none := term{Epoch: 1}
	says := func(site string, epoch int64) *v1alpha1.MigrationActing {
		return &v1alpha1.MigrationActing{Site: site, Epoch: ptr.To(epoch)}
	}
	for name, c := range map[string]struct {
		role   peer.Role
		site   string
		last   term
		theirs *v1alpha1.MigrationActing
		part   part
		begins bool
	}{
		"a single site acts":      {single, "a", none, nil, acts, false},
		"the preferred site acts": {first, "a", none, says("a", 1), acts, false},
		"it acts alone":           {alone, "a", none, nil, acts, false},
		"it takes its part back":  {first, "a", none, says("b", 2), acts, true},
		"it takes it back once":   {first, "a", term{Epoch: 3, Site: "a"}, says("b", 2), acts, false},
		"a ledger that was lost is made good by the other site":       {first, "a", none, says("a", 3), acts, true},
		"the other one follows":                                       {watcher, "b", none, says("a", 1), follows, false},
		"it keeps dates while nothing is reported":                    {watcher, "b", none, nil, dates, false},
		"it keeps dates while the line is cut":                        {cutOff, "b", none, nil, dates, false},
		"it stands in":                                                {deputy, "b", none, nil, acts, true},
		"it stands in once":                                           {deputy, "b", term{Epoch: 2, Site: "b"}, nil, acts, false},
		"it stands in again":                                          {deputy, "b", term{Epoch: 3, Site: "a"}, nil, acts, true},
		"it goes on until its part is taken back":                     {watcher, "b", term{Epoch: 2, Site: "b"}, says("a", 1), acts, false},
		"it goes on while the line comes and goes":                    {cutOff, "b", term{Epoch: 2, Site: "b"}, nil, acts, false},
		"it stands back":                                              {watcher, "b", term{Epoch: 2, Site: "b"}, says("a", 3), follows, false},
		"a report of a former term does not bring back what was gone": {watcher, "b", term{Epoch: 3, Site: "a"}, says("a", 1), dates, false},
	} {
		t.Run(name, func(t *testing.T) {
			if part, begins := partOf(c.role, c.site, c.last, c.theirs); part != c.part || begins != c.begins {
				t.Errorf("got part %d, begins %t", part, begins)
			}
		})
	}
}

func TestKeepBegun(t *testing.T) {
	in := func(state v1alpha1.MigrationPhaseState) []v1alpha1.MigrationPhaseStatus {
		return []v1alpha1.MigrationPhaseStatus{{Name: v1alpha1.PhaseFreeze}, {Name: v1alpha1.PhaseBlockSending, State: state}}
	}
	for name, c := range map[string]struct{ reported, here, want v1alpha1.MigrationPhaseState }{
		"what began stays, though nobody noted it here": {v1alpha1.PhaseRunning, v1alpha1.PhaseHeld, v1alpha1.PhaseRunning},
		"what was done stays":                           {v1alpha1.PhaseDone, v1alpha1.PhasePending, v1alpha1.PhaseDone},
		"what runs comes to its end":                    {v1alpha1.PhaseRunning, v1alpha1.PhaseDone, v1alpha1.PhaseDone},
		"what is to come begins":                        {v1alpha1.PhasePending, v1alpha1.PhaseRunning, v1alpha1.PhaseRunning},
	} {
		t.Run(name, func(t *testing.T) {
			phases := in(c.here)
			keepBegun(phases, in(c.reported))
			if got := phases[1].State; got != c.want {
				t.Errorf("got %s, want %s", got, c.want)
			}
		})
	}
}

// Of what the other site settled, dates count always, and copies once mail goes to the new mailboxes.
func TestUnknown(t *testing.T) {
	slots := []calendar.Slot{{Name: "block-sending", Phase: calendar.BlockSending}, {Name: "final-delta", Phase: calendar.FinalDelta},
		{Name: "verify", Phase: calendar.Verify}, {Name: "cut-over", Phase: calendar.CutOver}, {Name: "open-new", Phase: calendar.OpenNew}}
	s := &scope{timetable: &calendar.Timetable{Slots: slots}, ledger: &ledger{entries: map[string]entry{"block-sending.Done": {}}}}
	for name, c := range map[string]struct{ settled, want []string }{
		"a verification of a copy that lies there":   {[]string{"block-sending.Done", "final-delta.Done", "verify.Done"}, nil},
		"all of it after the cut-over":               {[]string{"final-delta.Done", "verify.Done", "cut-over.Done"}, []string{"final-delta.Done", "verify.Done", "cut-over.Done"}},
		"what was left out":                          {[]string{"open-new.Missed"}, []string{"open-new.Missed"}},
		"a slot that this timetable does not have":   {[]string{"destroy.Done"}, nil},
		"what was settled here and left out there":   {[]string{"block-sending.Missed"}, nil},
		"a state that is no end is not taken over":   {[]string{"open-new.Running"}, nil},
		"nothing of a site that has settled nothing": {nil, nil},
	} {
		t.Run(name, func(t *testing.T) {
			got := s.unknown(c.settled)
			if len(got) != len(c.want) {
				t.Fatalf("got %q, want %q", got, c.want)
			}
			for i := range got {
				if got[i] != c.want[i] {
					t.Errorf("got %q, want %q", got, c.want)
				}
			}
		})
	}
}
