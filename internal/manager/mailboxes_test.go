package manager_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pec-operator/pec-operator/api/v1alpha1"
	"github.com/pec-operator/pec-operator/internal/admin"
	"github.com/pec-operator/pec-operator/internal/apitest"
)

// promptly is far below the half minute after which a pass looks by itself; docs/scale.md has what it takes.
const promptly = 6 * time.Second

// behind changes what the engine holds behind the operator's back.
func (s *site) behind(t *testing.T, f func(*apitest.Engine)) {
	t.Helper()
	s.pods.With(t, s.domain, f)
}

func TestWhatChangesIsSeenAtOnce(t *testing.T) {
	s := newSite(t, "subito", siteOptions{})
	domain, box := s.makeDomain(), makeMailbox(s.ns, "protocollo", s.domain, func(m *v1alpha1.Mailbox) {
		m.Spec.Credentials.FirstLogin = v1alpha1.FirstLoginMustChange
	})
	late := makeMailbox(s.ns, "in.ritardo", s.domain, func(m *v1alpha1.Mailbox) { m.Spec.Credentials.SecretRef.Name = "in-ritardo" })
	s.provide(t)
	s.create(t, domain, password(s.ns, hashed), box, late)
	s.ready(t, domain, box)
	address := box.Address()
	row := func() (row admin.Mailbox) {
		s.behind(t, func(e *apitest.Engine) { row = e.Rows[address] })
		return row
	}
	placed := row()

	for _, step := range []struct {
		name string
		do   func()
		done func() error
	}{
		{"an edited Secret", func() {
			update(t, s, password(s.ns, ""), func(secret *corev1.Secret) {
				secret.Data["password"] = []byte(strings.Replace(hashed, "$12$", "$11$", 1))
			})
		}, func() error {
			if now := row(); now.CredentialsVersion == placed.CredentialsVersion || !strings.Contains(now.Password, "$11$") {
				return fmt.Errorf("the row still has %s", now.CredentialsVersion)
			}
			return nil
		}},
		{"a Secret that was missing", func() {
			secret := password(s.ns, hashed)
			secret.Name = "in-ritardo"
			s.create(t, secret)
		}, func() error { return s.isReady(late) }},
		{"a row that somebody removed", func() {
			s.behind(t, func(e *apitest.Engine) { delete(e.Rows, address) })
		}, func() error {
			if row().Address == "" {
				return errors.New("the row is not there")
			}
			return nil
		}},
		{"a row that somebody changed", func() {
			s.behind(t, func(e *apitest.Engine) {
				other := e.Rows[address]
				other.QuotaBytes = 1
				e.Rows[address] = other
			})
		}, func() error {
			if got := row().QuotaBytes; got != placed.QuotaBytes {
				return fmt.Errorf("the row has a quota of %d", got)
			}
			return nil
		}},
		{"a holder who changed the first password", func() {
			s.behind(t, func(e *apitest.Engine) {
				other := e.Rows[address]
				other.PasswordChangedByHolder = true
				e.Rows[address] = other
			})
		}, func() error {
			if sending := row().SendingRefused; sending != "" {
				return fmt.Errorf("sending is refused: %s", sending)
			}
			return nil
		}},
		{"a first password for his successor", func() {
			update(t, s, password(s.ns, ""), func(secret *corev1.Secret) { secret.Data["password"] = []byte(hashed) })
		}, func() error {
			if now := row(); !strings.Contains(now.Password, "$12$") || now.SendingRefused != admin.RefusalFirstLogin {
				return fmt.Errorf("sending is refused: %q", now.SendingRefused)
			}
			return nil
		}},
	} {
		t.Run(step.name, func(t *testing.T) {
			began := time.Now()
			step.do()
			eventuallyWithin(t, promptly, step.done)
			t.Logf("it acted after %s", time.Since(began).Round(time.Millisecond))
		})
	}
	t.Run("a mailbox that is made again while its row is being closed", func(t *testing.T) {
		again := makeMailbox(s.ns, "protocollo", s.domain)
		var failed error
		s.behind(t, func(e *apitest.Engine) {
			e.Meanwhile = func() { // and its pass is quicker
				failed = s.Create(context.Background(), again)
				taken := e.Rows[address]
				taken.Owner.UID = string(again.UID)
				e.Rows[address] = taken
			}
		})
		if err := s.Delete(context.Background(), box); err != nil {
			t.Fatal(err)
		}
		s.happened(t, &failed)
		s.settle(t)
		s.behind(t, func(e *apitest.Engine) {
			if is := e.Rows[address]; is.Access != admin.AccessFull || is.Owner.UID != string(again.UID) || e.Closed != 0 {
				t.Errorf("%d rows were closed, this one is %s, of %s", e.Closed, is.Access, is.Owner.UID)
			}
		})
		s.ready(t, again)
	})
	t.Run("a mailbox that is deleted, and its row closed, while a change of it is on its way", func(t *testing.T) {
		late := makeMailbox(s.ns, "in.ritardo", s.domain)
		closed := time.Now().Truncate(time.Second).UTC()
		var failed error
		s.behind(t, func(e *apitest.Engine) {
			e.Meanwhile = func() {
				failed = s.Delete(context.Background(), late)
				over := e.Rows[late.Address()]
				over.Access, over.ClosedAt = admin.AccessClosed, closed
				e.Rows[late.Address()] = over
			}
		})
		update(t, s, late, func(m *v1alpha1.Mailbox) { m.Spec.Access = v1alpha1.AccessReadOnly })
		s.happened(t, &failed)
		s.settle(t)
		s.behind(t, func(e *apitest.Engine) {
			if is := e.Rows[late.Address()]; is.Access != admin.AccessClosed || !is.ClosedAt.Equal(closed) || e.Closed != 0 {
				t.Errorf("its row is %s since %s, and %d were closed after it was opened again", is.Access, is.ClosedAt, e.Closed)
			}
		})
	})
}

// happened waits until what the engine does meanwhile was done.
func (s *site) happened(t *testing.T, failed *error) {
	t.Helper()
	eventually(t, func() (err error) {
		s.behind(t, func(e *apitest.Engine) {
			if err = *failed; err == nil && e.Meanwhile != nil {
				err = errors.New("no row was given another access")
			}
		})
		return err
	})
}

func (s *site) isReady(m *v1alpha1.Mailbox) error {
	if err := s.Get(context.Background(), client.ObjectKeyFromObject(m), m); err != nil {
		return err
	}
	return conditionIs(m, v1alpha1.ConditionReady, metav1.ConditionTrue)
}

func conditionIs(m *v1alpha1.Mailbox, name string, status metav1.ConditionStatus) error {
	for _, c := range m.Status.Conditions {
		if c.Type == name && c.Status == status {
			return nil
		}
	}
	return fmt.Errorf("%s is not %s=%s: %+v", m.Name, name, status, m.Status.Conditions)
}

// Bad mailboxes come first, and those beside them are Ready as if they were not there.
func TestABadMailboxHoldsUpNoOther(t *testing.T) {
	s := newSite(t, "guasti", siteOptions{})
	domain := s.makeDomain()
	s.provide(t)
	s.create(t, domain, password(s.ns, hashed))
	s.ready(t, domain)
	weak := password(s.ns, "x")
	weak.Name = "debole"
	s.create(t, weak)
	s.behind(t, func(e *apitest.Engine) {
		e.Refuses = map[string]string{"rifiutata@" + s.domain: "its rules cannot be followed"}
		e.Unknown = "forwardTo"
	})
	secret := func(name string) func(*v1alpha1.Mailbox) {
		return func(m *v1alpha1.Mailbox) { m.Spec.Credentials.SecretRef.Name = name }
	}
	bad := []struct {
		box               *v1alpha1.Mailbox
		condition, reason string
	}{
		{makeMailbox(s.ns, "senza.secret", s.domain, secret("nessuno")), v1alpha1.ConditionCredentialsValid, v1alpha1.ReasonSecretMissing},
		{makeMailbox(s.ns, "parola.debole", s.domain, secret("debole")), v1alpha1.ConditionCredentialsValid, v1alpha1.ReasonPasswordUnusable},
		{makeMailbox(s.ns, "rifiutata", s.domain), v1alpha1.ConditionProvisioned, v1alpha1.ReasonEngineRefuses},
		{makeMailbox(s.ns, "inoltrata", s.domain, func(m *v1alpha1.Mailbox) {
			m.Spec.OrdinaryMail = &v1alpha1.OrdinaryMail{Policy: v1alpha1.OrdinaryMailForward, ForwardTo: "ufficio@example.it"}
		}), v1alpha1.ConditionProvisioned, v1alpha1.ReasonEngineRefuses},
		{makeMailbox(s.ns, "ricevute", s.domain), v1alpha1.ConditionProvisioned, v1alpha1.ReasonAddressReserved},
	}
	for _, b := range bad {
		s.create(t, b.box)
	}
	const neighbours = 50
	good := make([]*v1alpha1.Mailbox, neighbours)
	each(t, len(good), func(i int) error {
		good[i] = makeMailbox(s.ns, fmt.Sprintf("buona.%d", i), s.domain)
		return s.Create(context.Background(), good[i])
	})
	eventually(t, func() error { return s.allReady(neighbours) })
	for _, b := range bad {
		c := s.waitFor(t, b.box, b.condition, metav1.ConditionFalse, b.reason)
		t.Logf("%s: %s", b.box.Name, c.Message)
	}
	s.behind(t, func(e *apitest.Engine) {
		if len(e.Rows) != neighbours {
			t.Errorf("the stack holds %d rows, want those of the %d good mailboxes", len(e.Rows), neighbours)
		}
	})
	s.behind(t, func(e *apitest.Engine) { e.Refuses, e.Unknown = nil, "" })
	s.ready(t, bad[2].box)
	s.ready(t, bad[3].box)

	t.Run("nor one that is deleted and cannot be closed", func(t *testing.T) {
		refused, failing, gone := good[0], good[1], good[2]
		s.behind(t, func(e *apitest.Engine) {
			e.Refuses = map[string]string{refused.Address(): "it does not let go of it"}
			e.Fails = map[string]string{failing.Address(): "Dovecot does not answer"}
		})
		s.settle(t)
		for _, box := range []*v1alpha1.Mailbox{refused, failing, gone} {
			if err := s.Delete(context.Background(), box); err != nil {
				t.Fatal(err)
			}
		}
		access := func(box *v1alpha1.Mailbox) (is admin.Access) {
			s.behind(t, func(e *apitest.Engine) { is = e.Rows[box.Address()].Access })
			return is
		}
		closed := func(box *v1alpha1.Mailbox) func() error {
			return func() error {
				if is := access(box); is != admin.AccessClosed {
					return fmt.Errorf("%s is %s", box.Address(), is)
				}
				return nil
			}
		}
		eventually(t, closed(gone))
		c := s.waitFor(t, domain, v1alpha1.ConditionRowsLeftOpen, metav1.ConditionTrue, v1alpha1.ReasonClosingRefused)
		for _, said := range []string{"2 mailboxes", refused.Address() + ": the engine refuses: it does not let go of it", failing.Address() + ": the engine could not place it: Dovecot does not answer"} {
			if !strings.Contains(c.Message, said) {
				t.Errorf("%q is not in %q", said, c.Message)
			}
		}
		s.ready(t, domain)
		for _, call := range s.writes.Take() {
			if strings.Contains(call, "/mailboxes/") {
				t.Errorf("a mailbox beside them was written: %s", call)
			}
		}
		s.behind(t, func(e *apitest.Engine) { e.Refuses = nil })
		s.request(t, domain, "closed now")
		eventually(t, closed(refused))
		s.waitFor(t, domain, v1alpha1.ConditionRowsLeftOpen, metav1.ConditionTrue, v1alpha1.ReasonClosingFails)
		s.behind(t, func(e *apitest.Engine) { e.Fails = nil })
		eventually(t, closed(failing))
		eventually(t, func() error {
			s.read(t, domain)
			if c := meta.FindStatusCondition(domain.Status.Conditions, v1alpha1.ConditionRowsLeftOpen); c != nil {
				return errors.New(c.Message)
			}
			return nil
		})
	})
}
