// Package mailtest runs real Dovecots for tests, from the mail image's root file system: the one of a stack, with the
// configuration that the operator renders, and another provider's. All of it lives in mount, network and process namespaces that
// the kernel takes away with the test's process.
package mailtest

import (
	"bytes"
	"cmp"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/pec-operator/pec-operator/api/v1alpha1"
	"github.com/pec-operator/pec-operator/internal/admin"
	"github.com/pec-operator/pec-operator/internal/directory"
	"github.com/pec-operator/pec-operator/internal/stack"
)

const (
	// rootfsVariable names the root file system of the mail image.
	rootfsVariable = "PEC_MAIL_ROOTFS"
	// insideVariable is set in the process that runs in the namespaces, to a directory of the test's.
	insideVariable = "PEC_MAILTEST_INSIDE"
	// mailID is the user that Dovecot runs as.
	mailID = 5000
)

// Inside runs a test again in a process of its own, in fresh mount, network and process namespaces, and in that process calls
// body. Its ports are free, and it reaches nothing but itself.
func Inside(t *testing.T, body func(t *testing.T)) {
	t.Helper()
	if os.Getenv(insideVariable) != "" {
		settleIn(t)
		body(t)
		return
	}
	out, err := again(t, t.Name()).CombinedOutput()
	if err != nil {
		t.Fatalf("in its namespaces: %v\n%s", err, out)
	}
	t.Logf("%s", out)
}

// settleIn makes the namespaces of this process fit to live in.
func settleIn(t *testing.T) {
	t.Helper()
	run(t, "mount", "--make-rprivate", "/")
	run(t, "mount", "-t", "proc", "proc", "/proc")
	run(t, "mount", "-t", "tmpfs", "tmpfs", os.Getenv(insideVariable))
	run(t, "ip", "link", "set", "lo", "up")
}

// again is this program, about to run a test in namespaces of its own.
func again(t *testing.T, test string, arguments ...string) *exec.Cmd {
	t.Helper()
	image := os.Getenv(rootfsVariable)
	switch {
	case image == "" && testing.Short():
		t.Skip("needs the mail image's root file system")
	case image == "":
		t.Fatalf("%s is not set: run `make unit`, which unpacks the mail image, or `go test -short` to leave this test out", rootfsVariable)
	case os.Getuid() != 0:
		t.Fatal("mounting needs root: run `make unit` as root, or `go test -short` to leave this test out")
	}
	cmd := exec.Command(os.Args[0], append([]string{"-test.run=^" + test + "$", "-test.v", "-test.timeout=50m"}, arguments...)...)
	cmd.Env = append(os.Environ(), insideVariable+"="+t.TempDir())
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS | syscall.CLONE_NEWNET | syscall.CLONE_NEWPID, Pdeathsig: syscall.SIGKILL}
	return cmd
}

func run(t *testing.T, name string, args ...string) {
	t.Helper()
	if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// Dovecot is a running one, with a root of its own.
type Dovecot struct {
	Root string // on tmpfs
	Log  *Log

	process *os.Process
	done    chan struct{}
}

// Log collects what a program prints.
type Log struct {
	mu sync.Mutex
	b  bytes.Buffer
}

// Write is io.Writer's.
func (l *Log) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

// String is everything so far.
func (l *Log) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

const configPath = "/etc/pec/dovecot/dovecot.conf"

// Start starts a Dovecot with a configuration and files, by their paths in its root, and waits until it listens on an address. It ends with
// the test.
func Start(t *testing.T, name, address string, files map[string]string) *Dovecot {
	t.Helper()
	base := filepath.Join(os.Getenv(insideVariable), name)
	for _, d := range []string{"upper", "work", "root"} {
		must(t, os.MkdirAll(filepath.Join(base, d), 0o755))
	}
	d := &Dovecot{Root: filepath.Join(base, "root"), Log: &Log{}, done: make(chan struct{})}
	run(t, "mount", "-t", "overlay", "overlay", d.Root, "-o", fmt.Sprintf("lowerdir=%s,upperdir=%s/upper,workdir=%s/work", os.Getenv(rootfsVariable), base, base))
	run(t, "mount", "--bind", "/dev", filepath.Join(d.Root, "dev"))
	for path, content := range files {
		path = filepath.Join(d.Root, path)
		must(t, os.MkdirAll(filepath.Dir(path), 0o755))
		must(t, os.WriteFile(path, []byte(content), 0o644))
	}
	for _, dir := range []string{"run/dovecot", "srv/mail", "var/lib/pec"} {
		must(t, os.MkdirAll(filepath.Join(d.Root, dir), 0o755))
		run(t, "chown", "-R", fmt.Sprintf("%d:%d", mailID, mailID), filepath.Join(d.Root, dir))
	}
	cmd := exec.Command("chroot", d.Root, "setpriv", fmt.Sprintf("--reuid=%d", mailID), fmt.Sprintf("--regid=%d", mailID), "--clear-groups",
		"dovecot", "-F", "-c", configPath)
	cmd.Stdout, cmd.Stderr = d.Log, d.Log
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	must(t, cmd.Start())
	d.process = cmd.Process
	go func() { _ = cmd.Wait(); close(d.done) }()
	t.Cleanup(func() {
		_ = d.process.Signal(syscall.SIGTERM)
		<-d.done
		if t.Failed() {
			t.Logf("Dovecot %s:\n%s", name, d.Log)
		}
	})
	if err := d.listens(address); err != nil {
		t.Fatalf("Dovecot %s: %v\n%s", name, err, d.Log)
	}
	return d
}

func (d *Dovecot) listens(address string) error {
	for end := time.Now().Add(20 * time.Second); ; {
		conn, err := net.Dial("tcp", address)
		if err == nil {
			return conn.Close()
		}
		select {
		case <-d.done:
			return errors.New("the program ended")
		case <-time.After(50 * time.Millisecond):
		}
		if time.Now().After(end) {
			return err
		}
	}
}

// DoveadmPassword and DoveadmKey are those of a Stack.
const DoveadmPassword, DoveadmKey = "secret-one", "secret-two"

// Stack is the Dovecot of a Managed domain's stack at site a, and its directory.
type Stack struct {
	*Dovecot
	Directory *directory.Directory
	// State is the engine's state directory, which holds the directory.
	State string
	// Host is the address that it listens on.
	Host   string
	domain string
}

// StartStack starts the Dovecot of a domain with mailboxes that have full access and the given password hash.
func StartStack(t *testing.T, domain, hash string, mailboxes ...string) *Stack {
	t.Helper()
	return startStack(t, "stack-"+domain, "", domain, hash, mailboxes...)
}

// StartTwins starts the Dovecots of a domain's two sites, each on a loopback address of its own.
func StartTwins(t *testing.T, domain, hash string, mailboxes ...string) (a, b *Stack) {
	t.Helper()
	return startStack(t, "a", "127.0.0.1", domain, hash, mailboxes...), startStack(t, "b", "127.0.0.2", domain, hash, mailboxes...)
}

// startStack starts one that listens on all addresses, or with a host there alone.
func startStack(t *testing.T, name, host, domain, hash string, mailboxes ...string) *Stack {
	t.Helper()
	objects, err := stack.Objects(managed(domain), stack.Settings{Site: "a", Image: "unused"})
	must(t, err)
	files := map[string]string{"/etc/pec/keys/doveadm.conf": fmt.Sprintf("doveadm_password = %s\ndoveadm_api_key = %s\n", DoveadmPassword, DoveadmKey)}
	for _, o := range objects {
		if m, ok := o.(*corev1.ConfigMap); ok {
			files[configPath] = m.Data["dovecot.conf"]
		}
	}
	if host != "" {
		files[configPath] = strings.ReplaceAll(files[configPath], "listen = 127.0.0.1", "listen = "+host) + "listen = " + host + "\n"
	}
	files["/etc/pec/tls/tls.crt"], files["/etc/pec/tls/tls.key"] = SelfSigned(t, "imaps."+domain)
	files["/var/lib/pec/directory/.keep"] = ""
	s := &Stack{domain: domain, Host: cmp.Or(host, "127.0.0.1")}
	s.Dovecot = Start(t, name, net.JoinHostPort(s.Host, "24245"), files)
	s.State = filepath.Join(s.Root, "var/lib/pec")
	s.Directory, err = directory.Open(context.Background(), filepath.Join(s.State, "directory"))
	must(t, err)
	t.Cleanup(func() { _ = s.Directory.Close() })
	must(t, s.Directory.PutDomain(context.Background(), admin.Domain{Name: domain, Local: true}))
	for _, m := range mailboxes {
		_, err := s.Directory.PutMailbox(context.Background(), admin.Mailbox{Address: m, Domain: domain, Password: hash, CredentialsVersion: "1", QuotaBytes: 1 << 40, Access: admin.AccessFull})
		must(t, err)
	}
	run(t, "chown", "-R", fmt.Sprintf("%d:%d", mailID, mailID), s.State)
	return s
}

func managed(domain string) *v1alpha1.PECDomain {
	preference := int32(10)
	return &v1alpha1.PECDomain{
		ObjectMeta: metav1.ObjectMeta{Name: domain, Namespace: "prova"},
		Spec: v1alpha1.PECDomainSpec{Provider: v1alpha1.DomainProvider{Type: v1alpha1.ProviderManaged, Managed: &v1alpha1.ManagedProvider{
			Provider:  v1alpha1.ProviderIdentity{Name: "Gestore di prova", MailDomain: domain, MailReceipt: "ricevute@" + domain},
			MailHosts: []v1alpha1.MailHost{{Host: "mx-a." + domain, Site: "a", Preference: &preference}},
		}}},
	}
}

// SelfSigned is a certificate for names, the first of which may be an address, and its key, both PEM.
func SelfSigned(t *testing.T, names ...string) (cert, key string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: names[0]}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		DNSNames: names, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
	}
	if address := net.ParseIP(names[0]); address != nil {
		template.DNSNames, template.IPAddresses = names[1:], append(template.IPAddresses, address)
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	must(t, err)
	raw, err := x509.MarshalPKCS8PrivateKey(private)
	must(t, err)
	encode := func(kind string, bytes []byte) string {
		return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: bytes}))
	}
	return encode("CERTIFICATE", der), encode("PRIVATE KEY", raw)
}

// ProviderPort is where a Provider answers, by IMAPS, and ProviderHost one of its names.
const (
	ProviderPort = 20993
	ProviderHost = "imaps.altrove.test"
)

// Quota makes a Provider give each mailbox ten megabytes, and tell so.
const Quota = `
mail_plugins {
  quota = yes
}
protocol imap {
  mail_plugins {
    imap_quota = yes
  }
}
quota "User quota" {
}
quota_storage_size = 10M
`

// Taciturn makes a Provider tell no sizes of folders.
const Taciturn = `
imap_capability = IMAP4rev1 LITERAL+ UIDPLUS
`

// StartProvider starts another provider's Dovecot, with the given passwords by address, and more settings. CA is its certificate, for
// the names "localhost" and ProviderHost and 127.0.0.1.
func StartProvider(t *testing.T, passwords map[string]string, settings ...string) (d *Dovecot, ca string) {
	t.Helper()
	users := strings.Builder{}
	for address, password := range passwords {
		fmt.Fprintf(&users, "%s:{PLAIN}%s::::::\n", address, password)
	}
	files := map[string]string{usersPath: users.String(), configPath: ProviderConfig + strings.Join(settings, "")}
	ca, files["/etc/pec/tls/tls.key"] = SelfSigned(t, "localhost", ProviderHost)
	files["/etc/pec/tls/tls.crt"] = ca
	return Start(t, "provider", net.JoinHostPort("127.0.0.1", strconv.Itoa(ProviderPort)), files), ca
}

const usersPath = "/etc/pec/users"

// Suspend has a Provider let nobody in, whatever he knows, and Resume ends that.
func (d *Dovecot) Suspend(t *testing.T) { d.users(t, "::::::\n", "::::::nologin\n") }

// Resume is the end of Suspend.
func (d *Dovecot) Resume(t *testing.T) { d.users(t, "::::::nologin\n", "::::::\n") }

func (d *Dovecot) users(t *testing.T, from, to string) {
	t.Helper()
	path := filepath.Join(d.Root, usersPath)
	raw, err := os.ReadFile(path)
	must(t, err)
	must(t, os.WriteFile(path, bytes.ReplaceAll(raw, []byte(from), []byte(to)), 0o644))
	time.Sleep(1100 * time.Millisecond) // Dovecot sees whether the file changed once a second
}

// ProviderConfig is unlike ours where a provider may be: sdbox, and a dot between the levels of a folder's name.
const ProviderConfig = `dovecot_config_version = 2.4.1
dovecot_storage_version = 2.4.1
base_dir = /run/dovecot/base
state_dir = /run/dovecot/state
log_path = /dev/stderr
default_internal_user = vmail
default_internal_group = vmail
default_login_user = vmail
protocols {
  imap = yes
}
ssl = required
ssl_server_cert_file = /etc/pec/tls/tls.crt
ssl_server_key_file = /etc/pec/tls/tls.key
mail_driver = sdbox
mail_home = /srv/mail/%{user}
mail_path = ~/sdbox
mail_uid = vmail
mail_gid = vmail
first_valid_uid = 1000
mail_fsync = never
mail_max_userip_connections = 100
namespace inbox {
  inbox = yes
  separator = .
}
passdb passwd-file {
  passwd_file_path = /etc/pec/users
}
userdb static {
  fields {
    uid = vmail
    gid = vmail
  }
}
service imap-login {
  chroot =
  inet_listener imap {
    port = 0
  }
  inet_listener imaps {
    port = 20993
    ssl = yes
  }
}
service anvil {
  chroot =
  unix_listener anvil-auth-penalty {
    mode = 0
  }
}
`
