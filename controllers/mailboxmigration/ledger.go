package mailboxmigration

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pec-operator/pec-operator/api/v1alpha1"
	"github.com/pec-operator/pec-operator/internal/calendar"
	"github.com/pec-operator/pec-operator/internal/jobs"
	"github.com/pec-operator/pec-operator/internal/migration"
	"github.com/pec-operator/pec-operator/internal/reconcile"
)

// ledger is what was done, slot by slot: a ConfigMap to which keys are added and in which none is changed. It has no owner, so that
// it outlives the resource: a migration that is deleted and applied again goes on where it was, and cuts nothing over twice.
type ledger struct {
	object  *corev1.ConfigMap
	missing bool
	entries map[string]entry // by key
	last    term             // the latest
}

// entry is one line: what happened to a slot, when, and what proves it.
type entry struct {
	At       time.Time `json:"at"`
	Evidence string    `json:"evidence,omitempty"`
	// Token is spec.run.token at that time.
	Token string `json:"token,omitempty"`
	// Mailboxes are the addresses that the list held when it closed.
	Mailboxes []string `json:"mailboxes,omitempty"`
	// List is the digest of that list; alone, where the other site closed it.
	List string `json:"list,omitempty"`
	// Term is one that began.
	Term *term `json:"term,omitempty"`
	// Outcome is what a Job came to.
	Outcome *outcome `json:"outcome,omitempty"`
}

// outcome is what a Job came to, over all its mailboxes.
type outcome struct {
	Copied    int32                    `json:"copied"`
	Messages  int64                    `json:"messages"`
	Bytes     int64                    `json:"bytes"`
	Saved     int64                    `json:"saved"`
	Skipped   int64                    `json:"skipped"`
	Extra     int64                    `json:"extra"`
	Failed    []v1alpha1.FailedMailbox `json:"failed,omitempty"`
	Manifests []manifest               `json:"manifests,omitempty"`
	// Opened says that the old mailboxes were opened where the letter says that they can be read, Old which were not as they should be.
	Opened bool                     `json:"opened,omitempty"`
	Old    []v1alpha1.FailedMailbox `json:"old,omitempty"`
}

// manifest is that of one mailbox, and the record of the engine that holds it.
type manifest struct {
	Address string `json:"address"`
	Digest  string `json:"digest"`
	Record  string `json:"record"`
}

const (
	ledgerSlot  = "ledger"
	identityKey = "identity"
	// recordedRunning and the others are how a slot's keys end.
	recordedRunning = ".Running"
	recordedDone    = ".Done"
	recordedMissed  = ".Missed"
)

func ledgerName(m *v1alpha1.MailboxMigration) string {
	return jobs.Name("MailboxMigration", m.Name, ledgerSlot)
}

// identity is what a ledger tells of: the spec cannot change it.
func identity(m *v1alpha1.MailboxMigration) string {
	from := ""
	switch source := m.Spec.Source; {
	case source.IMAP != nil:
		from = string(source.IMAP.Host)
	case source.DomainRef != nil:
		from = source.DomainRef.Name
	}
	return fmt.Sprintf("from %s %s to %s", m.Spec.Source.Type, from, m.Spec.Target.DomainRef.Name)
}

// openLedger reads what was done.
func openLedger(ctx context.Context, s *scope) (reconcile.Result, error) {
	if message := s.Namespaces.Missing(s.migration.Namespace, nil); message != "" {
		return reconcile.Result{}, reconcile.Waiting(longest, v1alpha1.ConditionTargetReady, v1alpha1.ReasonNamespaceNotGranted, message)
	}
	l := &ledger{object: &corev1.ConfigMap{}, entries: map[string]entry{}, last: term{Epoch: 1}}
	key := client.ObjectKey{Namespace: s.migration.Namespace, Name: ledgerName(s.migration)}
	err := s.Live.Get(ctx, key, l.object)
	switch {
	case apierrors.IsForbidden(err):
		return reconcile.Result{}, reconcile.Waiting(longest, v1alpha1.ConditionTargetReady, v1alpha1.ReasonNamespaceNotGranted, s.Namespaces.Missing(key.Namespace, err))
	case apierrors.IsNotFound(err):
		l.missing = true
		l.object = &corev1.ConfigMap{
			ObjectMeta: metav1.ObjectMeta{Namespace: key.Namespace, Name: key.Name, Annotations: map[string]string{jobs.OwnerAnnotation: "MailboxMigration/" + s.migration.Name}},
			Data:       map[string]string{identityKey: identity(s.migration)},
		}
	case err != nil:
		return reconcile.Result{}, fmt.Errorf("reading ledger %s: %w", key, err)
	}
	if tells := l.object.Data[identityKey]; tells != identity(s.migration) {
		return reconcile.Result{}, reconcile.Stalled(v1alpha1.ConditionCalendarSettled, v1alpha1.ReasonLedgerOfAnother, fmt.Sprintf(
			"ConfigMap %s tells of a migration %s, and this one is %s; give this resource another name", key.Name, tells, identity(s.migration)))
	}
	for name, text := range l.object.Data {
		if name == identityKey {
			continue
		}
		var e entry
		if err := json.Unmarshal([]byte(text), &e); err != nil {
			return reconcile.Result{}, fmt.Errorf("reading ledger %s, key %s: %w", key, name, err)
		}
		l.entries[name] = e
		if e.Term != nil && e.Term.Epoch > l.last.Epoch {
			l.last = term{Epoch: e.Term.Epoch, Site: e.Term.Site, At: e.At}
		}
	}
	s.ledger = l
	s.True(v1alpha1.ConditionCalendarSettled, v1alpha1.ReasonTimetableMade, "the dates make a timetable; what is done is kept in ConfigMap "+key.Name)
	return reconcile.Result{}, nil
}

// done is what was recorded when a phase was done.
func (l *ledger) done(phase calendar.Name) (entry, bool) {
	e, ok := l.entries[calendar.SlotName(phase)+recordedDone]
	return e, ok
}

// states are the ledger as the calendar wants it.
func (l *ledger) states() calendar.Ledger {
	states := calendar.Ledger{}
	for _, key := range slices.Sorted(maps.Keys(l.entries)) { // Done and Missed sort before Running
		slot, state, _ := strings.Cut(key, ".")
		if _, settled := states[slot]; !settled {
			states[slot] = calendar.State(state)
		}
	}
	return states
}

// record adds a line, on disk when it returns. One that is there stays.
func (s *scope) record(ctx context.Context, key string, e entry) error {
	if _, there := s.ledger.entries[key]; there {
		return nil
	}
	e.At, e.Token = s.Now.UTC(), s.migration.Token()
	raw, err := json.Marshal(e)
	if err != nil {
		return fmt.Errorf("encoding %s of the ledger: %w", key, err)
	}
	before := s.ledger.object.DeepCopy()
	s.ledger.object.Data[key] = string(raw)
	if s.ledger.missing {
		err = s.Client.Create(ctx, s.ledger.object)
	} else {
		err = s.Client.Patch(ctx, s.ledger.object, client.MergeFromWithOptions(before, client.MergeFromWithOptimisticLock{}))
	}
	if err != nil {
		return fmt.Errorf("adding %s to ledger %s: %w", key, s.ledger.object.Name, err)
	}
	s.ledger.missing = false
	s.ledger.entries[key] = e
	return nil
}

// mailboxes are those that are moved: the spec's, and once the list is closed those of them that it held.
func (s *scope) mailboxes() (list []v1alpha1.MigratedMailbox, late []string) {
	closed, ok := s.closed()
	for _, m := range s.migration.Spec.Mailboxes {
		if ok && closed.Mailboxes != nil && !slices.Contains(closed.Mailboxes, string(m.Address)) {
			late = append(late, string(m.Address))
			continue
		}
		list = append(list, m)
	}
	return list, late
}

// listed are the addresses of the spec.
func (s *scope) listed() []string {
	all := make([]string, len(s.migration.Spec.Mailboxes))
	for i, m := range s.migration.Spec.Mailboxes {
		all[i] = string(m.Address)
	}
	return all
}

// listClosers are the phases at which the list of mailboxes closes, at the first of them.
var listClosers = []calendar.Name{calendar.RequestsClose, calendar.BlockSending}

// closed is what was recorded when the list closed.
func (s *scope) closed() (entry, bool) {
	for _, phase := range listClosers {
		if e, ok := s.ledger.done(phase); ok {
			return e, true
		}
	}
	return entry{}, false
}

// listUnknown says that the other site closed the list, and that the spec's is another: who is on it is not known here.
func (s *scope) listUnknown() bool {
	closed, ok := s.closed()
	return ok && closed.Mailboxes == nil && closed.List != listDigest(s.listed())
}

// outcomeOf sums up what a Job's indexes came to. Pure.
func outcomeOf(state jobs.State, addresses []string) outcome {
	o := outcome{Copied: int32(len(state.Succeeded))} //nolint:gosec // at most 128
	for index, address := range addresses {
		result, ok := state.Results[index]
		if !ok {
			continue
		}
		var r migration.Report
		if json.Unmarshal(result.Data, &r) == nil {
			o.Messages += int64(r.Messages)
			o.Bytes += r.Bytes
			o.Saved += int64(r.Saved)
			o.Skipped += int64(r.Skipped)
			o.Extra += int64(r.Extra)
			if o.Opened = o.Opened || r.Old != ""; r.Old != "" && r.Old != migration.OldReadOnly {
				o.Old = append(o.Old, v1alpha1.FailedMailbox{Address: v1alpha1.EmailAddress(address), Reason: r.Old})
			}
			if r.Manifest != "" {
				o.Manifests = append(o.Manifests, manifest{Address: address, Digest: r.Manifest, Record: r.Location})
			}
		}
		if slices.Contains(state.Failed, index) {
			o.Failed = append(o.Failed, v1alpha1.FailedMailbox{Address: v1alpha1.EmailAddress(address), Reason: result.Reason})
		}
	}
	return o
}
