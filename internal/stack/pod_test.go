package stack

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/crypto/bcrypt"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"

	"github.com/pec-operator/pec-operator/internal/admin"
	"github.com/pec-operator/pec-operator/internal/directory"
)

const password = "a long enough password"

// pod is the rendered pod of the test's domain, with what stands around it.
type pod struct {
	*node
	spec      corev1.PodSpec
	directory *directory.Directory
	engine    *engineStandIn
	log       *lockedBuffer // of Postfix, to show when a test fails
	// Of the engine itself, where a test runs it: how far its clock is ahead, and what stops it.
	ahead      atomic.Int64
	stopEngine func()
}

// newPod renders the pod, gives it its Secrets, and does what prepare and the engine do before the others start.
func newPod(t *testing.T, n *node) *pod {
	t.Helper()
	p := newPodAlone(t, n)
	p.engine = startEngineStandIn(t)
	return p
}

// newPodAlone is newPod with nothing where the engine listens.
func newPodAlone(t *testing.T, n *node) *pod {
	t.Helper()
	d, s := makeDomain(), makeSettings()
	objects, err := Objects(d, s)
	n.must(err)
	p := &pod{node: n}
	for _, o := range objects {
		switch o := o.(type) {
		case *corev1.ConfigMap:
			n.data[o.Name] = o.Data
		case *appsv1.StatefulSet:
			p.spec = o.Spec.Template.Spec
		}
	}
	cert, key := selfSigned(t)
	n.data[TLSSecret(d)] = map[string]string{"tls.crt": cert, "tls.key": key}
	n.data[NamesFor(d.Name).EngineSecret] = map[string]string{"doveadm.conf": "doveadm_password = secret-one\ndoveadm_api_key = secret-two\n"}
	p.openDirectory()
	for name, access := range map[string]admin.Access{
		"full": admin.AccessFull, "other": admin.AccessFull, "readonly": admin.AccessReadOnly, "suspended": admin.AccessSuspended, "closed": admin.AccessClosed,
	} {
		p.mailbox(name, access)
	}
	return p
}

// openDirectory opens the directory as the engine does. Its files belong to the engine's user, not to the test's.
func (p *pod) openDirectory() {
	p.t.Helper()
	dir := filepath.Join(p.volumePath(p.spec, volumeEngine), directoryName)
	d, err := directory.Open(context.Background(), dir)
	p.must(err)
	p.must(d.PutDomain(context.Background(), admin.Domain{Name: domain, Local: true}))
	p.must(filepath.Walk(dir, func(path string, _ os.FileInfo, err error) error {
		return errors.Join(err, os.Chown(path, mailID, mailID))
	}))
	p.directory = d
}

// mailbox puts a mailbox of one megabyte into the directory.
func (p *pod) mailbox(name string, access admin.Access, change ...func(*admin.Mailbox)) {
	p.t.Helper()
	hash, err := bcrypt.GenerateFromPassword([]byte(password), bcrypt.MinCost)
	p.must(err)
	m := admin.Mailbox{
		Address: name + "@" + domain, Domain: domain, Password: "{BLF-CRYPT}" + string(hash), CredentialsVersion: "1", QuotaBytes: 1 << 20, Access: access,
	}
	for _, c := range change {
		c(&m)
	}
	outcomes, err := p.directory.Place(context.Background(), []admin.Place{{Address: m.Address, Mailbox: &m, Given: &admin.Given{MayChange: []admin.Choice{admin.ChoiceRules}}}})
	p.must(err)
	p.must(outcomes[0].Err)
}

func (p *pod) container(name string) corev1.Container {
	for _, c := range p.spec.Containers {
		if c.Name == name {
			return c
		}
	}
	p.t.Fatalf("no container %s", name)
	return corev1.Container{}
}

// started starts a container and waits for its ports.
func (p *pod) started(name string) *running {
	p.t.Helper()
	c := p.container(name)
	r := p.start(p.spec, c)
	if err := r.listens(c); err != nil {
		p.t.Fatalf("%s: %v\n%s", name, err, r.output)
	}
	return r
}

// listens waits until a container's ports are open, it is gone, or 20 seconds are over.
func (r *running) listens(c corev1.Container) error {
	for _, port := range c.Ports {
		if err := waitPort(int(port.ContainerPort), r.done); err != nil {
			return fmt.Errorf("port %s: %w", port.Name, err)
		}
	}
	return nil
}

func waitPort(port int, gone <-chan struct{}) error {
	for end := time.Now().Add(20 * time.Second); ; {
		conn, err := net.Dial("tcp", loopback(port))
		if err == nil {
			return conn.Close()
		}
		select {
		case <-gone:
			return errors.New("the program ended")
		case <-time.After(50 * time.Millisecond):
		}
		if time.Now().After(end) {
			return err
		}
	}
}

func selfSigned(t *testing.T) (cert, key string) {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "stack test"}, NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &k.PublicKey, k)
	if err != nil {
		t.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(k)
	if err != nil {
		t.Fatal(err)
	}
	block := func(kind string, b []byte) string {
		return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: b}))
	}
	return block("CERTIFICATE", der), block("PRIVATE KEY", pkcs8)
}

// unverified is what the clients of these tests use: what is under test is the pod, and its certificate is made a moment before.
func unverified() *tls.Config { return &tls.Config{InsecureSkipVerify: true} }
