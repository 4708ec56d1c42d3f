package scale

import (
	"bytes"
	"database/sql"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/emersion/go-imap/v2"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pec-operator/pec-operator/api/v1alpha1"
	"github.com/pec-operator/pec-operator/internal/directory"
	"github.com/pec-operator/pec-operator/internal/mailtest"
	pw "github.com/pec-operator/pec-operator/internal/password"
)

// TestAContractCountsWhatTheStackHolds is of one domain whose contract has room for three, at the real engine and Dovecot.
func TestAContractCountsWhatTheStackHolds(t *testing.T) {
	mailtest.Inside(t, func(t *testing.T) {
		w := newWorld(t)
		d := makeDomain()
		d.Spec.Contract = &v1alpha1.Contract{Reference: "C-12", Standard: ptr.To(int32(3))}
		w.create(d)
		w.startOperator()
		w.startEngine()
		hash, err := pw.Hash([]byte(password), pw.Cost)
		must(t, err)
		w.create(makeSecret("tutti", hash))
		all := []string{"prima", "seconda", "terza", "quarta"}
		for i := range all {
			w.create(request(all[i], i))
		}
		inside := func(who ...string) {
			t.Helper()
			for _, localPart := range who {
				w.ready(localPart)
				w.login(localPart, password)
			}
		}
		t.Run("who asked first is in", func(*testing.T) {
			inside(all[:3]...)
			w.waits("quarta", "3 of 3 Standard mailboxes in use")
		})
		t.Run("a deletion puts its holder out and makes no room", func(*testing.T) {
			must(t, w.Delete(t.Context(), request("terza", 2)))
			w.eventually(func() error { return w.staysOut("terza") })
			w.waits("quarta", "closed and keep their mail count: 1")
		})
		t.Run("a directory that was lost makes none either", func(*testing.T) {
			w.engine.stop()
			w.loseRows()
			w.startEngine()
			w.eventually(func() error { return w.opens("prima") })
			inside(all[:2]...)
			must(t, w.staysOut("terza"))
			w.waits("quarta", "closed and keep their mail count: 1")
		})
		t.Run("the mailbox that is made again has its room", func(*testing.T) {
			w.create(request("terza", 2))
			inside("terza")
			w.waits("quarta", "3 of 3 Standard mailboxes in use")
		})
		t.Run("a larger contract lets in who waits", func(*testing.T) {
			must(t, w.get(domain, d))
			d.Spec.Contract.Standard = ptr.To(int32(4))
			must(t, w.Update(t.Context(), d))
			inside("quarta")
		})
		t.Run("a mailbox that fills up says so, and takes no more than its quota", func(*testing.T) {
			must(t, w.put("quarta", 850<<10))
			w.eventually(func() error { return w.nearQuota("quarta") })
			var no *imap.Error
			if err := w.put("quarta", 400<<10); !errors.As(err, &no) || no.Code != imap.ResponseCodeOverQuota {
				t.Errorf("a message over the quota is answered %v", err)
			}
		})
	})
}

// request is a Mailbox that was asked for after those before it.
func request(localPart string, after int) *v1alpha1.Mailbox {
	m := makeMailbox(localPart, "tutti")
	m.Spec.Quota = ptr.To(resource.MustParse("1Mi"))
	m.Spec.RequestedAt = metav1.NewTime(m.Spec.RequestedAt.Add(time.Duration(after) * time.Minute))
	return m
}

// waits waits until the contract holds a mailbox and says why. Nobody is let into it.
func (w *world) waits(localPart, why string) {
	w.t.Helper()
	w.eventually(func() error {
		m := &v1alpha1.Mailbox{}
		if err := w.get(localPart+".at."+domain, m); err != nil {
			return err
		}
		if c := meta.FindStatusCondition(m.Status.Conditions, v1alpha1.ConditionAdmitted); c == nil || c.Reason != v1alpha1.ReasonHeldByContract || !strings.Contains(c.Message, why) {
			return fmt.Errorf("want %s held because %q, got %+v", localPart, why, c)
		}
		return nil
	})
	must(w.t, w.staysOut(localPart))
}

// opens tries to log in.
func (w *world) opens(localPart string) error {
	c := w.dial()
	defer c.Close()
	return c.Login(localPart+"@"+domain, password).Wait()
}

func (w *world) staysOut(localPart string) error {
	if w.opens(localPart) == nil {
		return fmt.Errorf("%s is let in", localPart)
	}
	return nil
}

// loseRows makes the directory forget all domains and mailboxes, as one of an empty volume has none. The engine's log stays.
func (w *world) loseRows() {
	w.t.Helper()
	db, err := sql.Open("sqlite", filepath.Join(w.stack.State, "directory", directory.FileName))
	must(w.t, err)
	defer db.Close()
	for _, table := range []string{"mailbox", "domain", "ending", "whole"} {
		_, err := db.ExecContext(w.t.Context(), "DELETE FROM "+table)
		must(w.t, err)
	}
}

// put appends a message of a size to a mailbox.
func (w *world) put(localPart string, size int) error {
	w.t.Helper()
	c := w.dial()
	defer c.Close()
	must(w.t, c.Login(localPart+"@"+domain, password).Wait())
	message := append([]byte("Subject: prova\r\n\r\n"), bytes.Repeat([]byte("una riga di prova che riempie la casella\r\n"), size/42)...)
	command := c.Append("INBOX", int64(len(message)), nil)
	_, err := command.Write(message)
	if err = errors.Join(err, command.Close()); err != nil {
		return err // it may be refused for its size, before it is sent
	}
	_, err = command.Wait()
	return err
}

// nearQuota asks for a look at a mailbox, and is nil once the status says that it is nearly full.
func (w *world) nearQuota(localPart string) error {
	m := &v1alpha1.Mailbox{}
	if err := w.get(localPart+".at."+domain, m); err != nil {
		return err
	}
	if c := meta.FindStatusCondition(m.Status.Conditions, v1alpha1.ConditionQuotaHealthy); c != nil && c.Reason == v1alpha1.ReasonNearQuota && m.Status.Usage != nil {
		return nil
	}
	before := m.DeepCopy()
	metav1.SetMetaDataAnnotation(&m.ObjectMeta, v1alpha1.ReconcileRequestedAnnotation, time.Now().String())
	if err := w.Patch(w.t.Context(), m, client.MergeFrom(before)); err != nil {
		return err
	}
	return fmt.Errorf("%s says %+v", localPart, m.Status)
}
