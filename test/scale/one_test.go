package scale

import (
	"crypto/tls"
	"errors"
	"time"

	"github.com/emersion/go-imap/v2/imapclient"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pec-operator/pec-operator/api/v1alpha1"
)

// until is how long it takes from an act until a mailbox's status says that it is done.
func (w *world) until(localPart string, act func() error, done func(*v1alpha1.Mailbox) bool) time.Duration {
	w.t.Helper()
	watch, err := w.Watch(w.t.Context(), &v1alpha1.MailboxList{}, client.InNamespace(ns), client.MatchingFields{"metadata.name": localPart + ".at." + domain})
	must(w.t, err)
	defer watch.Stop()
	began := time.Now()
	must(w.t, act())
	limit := time.After(time.Minute)
	for {
		select {
		case event, open := <-watch.ResultChan():
			if !open {
				w.t.Fatalf("the API server ended the watch over %s", localPart)
			}
			if m, is := event.Object.(*v1alpha1.Mailbox); is && done(m) {
				return time.Since(began)
			}
		case <-limit:
			w.t.Fatalf("%s was not done within a minute", localPart)
		}
	}
}

// changeQuota is how long a new quota takes until the stack has it.
func (w *world) changeQuota(localPart string) time.Duration {
	w.t.Helper()
	m := &v1alpha1.Mailbox{}
	must(w.t, w.get(localPart+".at."+domain, m))
	m.Spec.Quota = ptr.To(resource.MustParse("2Gi"))
	return w.until(localPart, func() error { return w.Update(w.t.Context(), m) }, func(m *v1alpha1.Mailbox) bool { return m.Status.Quota == "2Gi" && isReady(m) })
}

// firstLogin is how long it takes from the creation of a mailbox with a password until its holder is in.
func (w *world) firstLogin(localPart string) time.Duration {
	w.t.Helper()
	w.create(makeSecret(localPart, password))
	began := time.Now()
	w.until(localPart, func() error { return w.Create(w.t.Context(), makeMailbox(localPart, localPart)) }, isReady)
	w.login(localPart, password)
	return time.Since(began)
}

// changePassword is how long after the edit of a Secret a session ends that was open. The former password is of no use then.
func (w *world) changePassword(localPart string) time.Duration {
	w.t.Helper()
	session := w.dial()
	must(w.t, session.Login(localPart+"@"+domain, password).Wait())
	secret := &corev1.Secret{}
	must(w.t, w.get(localPart, secret))
	secret.Data["password"] = []byte("un-altra-password")
	began := time.Now()
	must(w.t, w.Update(w.t.Context(), secret))
	select {
	case <-session.Closed():
	case <-time.After(time.Minute):
		w.t.Fatalf("the session of %s lives on", localPart)
	}
	took := time.Since(began)
	w.login(localPart, "un-altra-password")
	former := w.dial()
	defer former.Close()
	if former.Login(localPart+"@"+domain, password).Wait() == nil {
		w.t.Errorf("the former password of %s still opens it", localPart)
	}
	return took
}

func (w *world) dial() *imapclient.Client {
	w.t.Helper()
	c, err := imapclient.DialTLS(imaps, &imapclient.Options{TLSConfig: &tls.Config{InsecureSkipVerify: true}}) //nolint:gosec // of the test's own
	must(w.t, err)
	return c
}

// login is how long an IMAP login takes, with the connection and its TLS.
func (w *world) login(localPart, password string) time.Duration {
	w.t.Helper()
	began := time.Now()
	c := w.dial()
	err := c.Login(localPart+"@"+domain, password).Wait()
	took := time.Since(began)
	must(w.t, errors.Join(err, c.Close()))
	return took
}
