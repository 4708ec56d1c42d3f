package mailboxmigration

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pec-operator/pec-operator/api/v1alpha1"
	"github.com/pec-operator/pec-operator/internal/calendar"
	"github.com/pec-operator/pec-operator/internal/engines"
	"github.com/pec-operator/pec-operator/internal/peer"
	"github.com/pec-operator/pec-operator/internal/reconcile"
	"github.com/pec-operator/pec-operator/internal/store"
)

// part is what this site does of a migration.
type part int

const (
	// acts keeps dates and copies.
	acts part = iota
	// dates keeps dates, which bind the mailboxes of this site, and leaves the copying: the site that does it reports nothing.
	dates
	// follows shows what the other site reports.
	follows
)

// term is a time in which one site acts, in the ledger of each site that knows of it. The first, of the preferred site, is not
// written down.
type term struct {
	Epoch int64     `json:"epoch"`
	Site  string    `json:"site"`
	At    time.Time `json:"-"`
}

const termKey = "term-"

// partOf is the part of a site, and whether it begins a term: in the other's place, or again in its own after it was stood in for.
// last is the latest term of this site's ledger, theirs what the other site reports, nil when that could not be read. Pure.
func partOf(r peer.Role, site string, last term, theirs *v1alpha1.MigrationActing) (p part, begins bool) {
	mine, later := last.Site == site, theirs != nil && *theirs.Epoch > last.Epoch
	switch {
	case r.Deputy:
		return acts, !mine
	case r.Acts:
		return acts, later
	case mine && !later:
		return acts, false // whom it stands in for has not taken its part back
	case theirs != nil && *theirs.Epoch >= last.Epoch:
		return follows, false
	}
	return dates, false // a report of a former term is none: what was taken away since would come back
}

// chooseSite finds this site's part. One site copies: the target's preferred one, or the other in its place. Copying only adds, and what
// is copied twice is known by its GUID, so two that copy for a while, because neither sees the other, do no harm.
func chooseSite(ctx context.Context, s *scope) (reconcile.Result, error) {
	state := s.Peer.State()
	role := peer.RoleOf(s.Site, s.target.preferred, state, s.StandIn, s.Jobs.Now())
	other := s.readOther(ctx, state)
	var theirs *v1alpha1.MigrationActing
	if other != nil {
		theirs = other.Status.Acting
	}
	begins := false
	s.part, begins = partOf(role, s.Site, s.ledger.last, theirs)
	if begins || s.part == follows {
		if err := s.learn(ctx, theirs, begins); err != nil {
			return reconcile.Result{}, err
		}
	}
	switch {
	case s.part == follows:
		if err := s.standBack(ctx); err != nil {
			return reconcile.Result{}, err
		}
		return reconcile.Result{RequeueAfter: followed}, s.mirror(other)
	case s.part == dates:
		s.recall(role.Actor)
		wait := followed
		if left := s.StandIn - s.Jobs.Now().Sub(state.SilentSince); left > 0 {
			wait = min(wait, max(left, soon)) // a date that came meanwhile is still in its grace when this site stands in
		}
		return reconcile.Result{RequeueAfter: wait}, nil
	case s.target.preferred != "" && s.target.preferred != s.Site && state.Configured:
		s.True(v1alpha1.ConditionStandingIn, v1alpha1.ReasonPreferredSiteSilent, fmt.Sprintf(
			"site %s, the preferred one, was silent; this one acts until that takes its part back", s.target.preferred))
		return reconcile.Result{RequeueAfter: followed}, nil
	case state.Configured:
		return reconcile.Result{RequeueAfter: noticed}, nil
	}
	return reconcile.Result{}, nil
}

// readOther is the other site's migration, if it answers and means the same one.
func (s *scope) readOther(ctx context.Context, state peer.State) *v1alpha1.MailboxMigration {
	if !state.Reachable {
		return nil
	}
	other, err := s.Peer.Migration(ctx, client.ObjectKeyFromObject(s.migration))
	if err != nil || identity(other) != identity(s.migration) {
		return nil
	}
	return other
}

// learn takes over what the other site has settled, and then begins a term or notes the other's.
func (s *scope) learn(ctx context.Context, theirs *v1alpha1.MigrationActing, begins bool) error {
	t := term{Epoch: s.ledger.last.Epoch + 1, Site: s.Site}
	if theirs != nil {
		for _, key := range s.unknown(theirs.Settled) {
			e := entry{Evidence: "at site " + theirs.Site}
			if slot, _, _ := strings.Cut(key, "."); closesList(slot) {
				e.List = theirs.List
				if own := s.listed(); listDigest(own) == e.List {
					e.Mailboxes = slices.Sorted(slices.Values(own))
				}
			}
			if err := s.record(ctx, key, e); err != nil {
				return err
			}
		}
		t.Epoch = max(t.Epoch, *theirs.Epoch+1)
	}
	if !begins {
		t = term{Epoch: *theirs.Epoch, Site: theirs.Site}
	}
	if t.Epoch <= s.ledger.last.Epoch || t.Epoch == 1 {
		return nil
	}
	if err := s.record(ctx, fmt.Sprintf("%s%d", termKey, t.Epoch), entry{Term: &t}); err != nil {
		return err
	}
	t.At = s.Now.UTC()
	s.ledger.last = t
	return nil
}

// unknown are the slots that the other site settled and this one did not. What it copied and verified counts once mail goes to the new
// mailboxes: before, whoever acts proves the copy that lies at his own site; after it there is nothing left to copy.
func (s *scope) unknown(settled []string) []string {
	over := slices.Contains(settled, calendar.SlotName(calendar.CutOver)+recordedDone)
	states := s.ledger.states()
	var keys []string
	for _, slot := range s.timetable.Slots {
		for _, state := range []string{recordedDone, recordedMissed} {
			there := states[slot.Name] == calendar.Done || states[slot.Name] == calendar.Missed
			if slices.Contains(settled, slot.Name+state) && !there && (over || !copies(slot)) {
				keys = append(keys, slot.Name+state)
			}
		}
	}
	return keys
}

// standBack stops what this site copied in the other's place. It goes on if it has to stand in again.
func (s *scope) standBack(ctx context.Context) error {
	states := s.ledger.states()
	for _, slot := range s.timetable.Slots {
		if states[slot.Name] != calendar.Running || !copies(slot) {
			continue
		}
		job, err := s.Jobs.Find(ctx, s.jobPlan(slot, nil, ""))
		if err != nil || job == nil || ptr.Deref(job.Spec.Suspend, false) {
			if err != nil {
				return err
			}
			continue
		}
		s.engine = s.Engines.For(engines.First(s.target.host))
		if err := s.revoke(ctx, slot, ""); err != nil {
			return err
		}
		if err := s.Jobs.Suspend(ctx, job, true); err != nil {
			return err
		}
	}
	return nil
}

// mirrored are the conditions that the site that acts alone can judge.
var mirrored = []string{v1alpha1.ConditionTargetReady, v1alpha1.ConditionMailboxesCopied, v1alpha1.ConditionPhasesSettled, v1alpha1.ConditionLateRequests,
	v1alpha1.ConditionPromisesKept}

// mirror shows what the acting site reports. Its phases bind the mailboxes of this site as well: whoever may not send there must not
// send here.
func (s *scope) mirror(other *v1alpha1.MailboxMigration) error {
	status, said := &s.migration.Status, other.Status.Conditions
	status.Phases, status.Run, status.Manifest = other.Status.Phases, other.Status.Run, other.Status.Manifest
	status.Mailboxes, status.Messages, status.Bytes = other.Status.Mailboxes, other.Status.Messages, other.Status.Bytes
	site := "site " + other.Status.Acting.Site
	for _, name := range mirrored {
		if c := meta.FindStatusCondition(said, name); c != nil {
			s.Say(name, c.Status, c.Reason, site+": "+c.Message)
		}
	}
	s.Served = site + " reports that " + table.Served
	suspended, stalled := meta.FindStatusCondition(said, v1alpha1.ConditionSuspended), meta.FindStatusCondition(said, v1alpha1.ConditionStalled)
	switch {
	case suspended != nil && !meta.IsStatusConditionTrue(said, v1alpha1.ConditionSucceeded):
		s.Say(v1alpha1.ConditionPhasesSettled, metav1.ConditionUnknown, suspended.Reason, site+": "+suspended.Message)
	case suspended != nil:
	case !equality.Semantic.DeepEqual(other.Spec, s.migration.Spec):
		s.Say(v1alpha1.ConditionPhasesSettled, metav1.ConditionUnknown, v1alpha1.ReasonOtherSiteBehind,
			site+" acts on another spec; see whether both clusters follow the same Git revision")
	case other.Status.ObservedGeneration != other.Generation:
		s.Say(v1alpha1.ConditionPhasesSettled, metav1.ConditionUnknown, v1alpha1.ReasonOtherSiteBehind, site+" has not looked at this spec yet")
	case stalled != nil:
		for _, name := range table.Positive {
			if c := meta.FindStatusCondition(said, name); c != nil && c.Status == metav1.ConditionFalse && c.Reason == stalled.Reason {
				return reconcile.Stalled(name, c.Reason, site+": "+c.Message)
			}
		}
	}
	return nil
}

// recall repeats what the acting site reported last, while it reports nothing.
func (s *scope) recall(actor string) {
	s.Repeat(mirrored...)
	if _, said := s.Said(v1alpha1.ConditionTargetReady); !said {
		s.Say(v1alpha1.ConditionTargetReady, metav1.ConditionUnknown, v1alpha1.ReasonPreferredSiteMigrates, fmt.Sprintf(
			"site %s is the preferred one of %s and acts; it has reported nothing yet", actor, s.target.host.Name))
	}
	if !meta.IsStatusConditionTrue(s.migration.Status.Conditions, v1alpha1.ConditionPhasesSettled) {
		s.Say(v1alpha1.ConditionPhasesSettled, metav1.ConditionUnknown, v1alpha1.ReasonOtherSiteSilent, fmt.Sprintf(
			"site %s acts and reports nothing; this one keeps the dates of its own mailboxes, and copies too once that site has been silent for %s", actor, s.StandIn))
	}
	if top := meta.FindStatusCondition(s.migration.Status.Conditions, v1alpha1.ConditionSucceeded); top != nil && top.Status == metav1.ConditionTrue {
		s.Served = top.Message
	}
}

// acting is what the other site needs to know.
func (s *scope) acting() *v1alpha1.MigrationActing {
	a := &v1alpha1.MigrationActing{Site: s.ledger.last.Site, Epoch: ptr.To(s.ledger.last.Epoch)}
	if a.Site == "" && s.target.preferred != "" && s.Peer.State().Configured {
		a.Site = s.target.preferred
	} else if a.Site == "" {
		a.Site = s.Site
	}
	states := s.ledger.states()
	for _, slot := range s.timetable.Slots {
		if state := states[slot.Name]; slot.Phase != calendar.Copy && (state == calendar.Done || state == calendar.Missed) {
			a.Settled = append(a.Settled, slot.Name+"."+string(state))
		}
	}
	if e, ok := s.closed(); ok {
		a.List = e.List
	}
	return a
}

// closesList says whether a slot is one at which the list of mailboxes closes.
func closesList(slot string) bool {
	return slices.ContainsFunc(listClosers, func(phase calendar.Name) bool { return calendar.SlotName(phase) == slot })
}

// listDigest is the digest of a list of mailboxes.
func listDigest(addresses []string) string {
	return store.Digest([]byte(strings.Join(slices.Sorted(slices.Values(addresses)), "\n")))
}
