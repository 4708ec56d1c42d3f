package e2e

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/emersion/go-imap/v2"
	"github.com/google/go-cmp/cmp"
	"sigs.k8s.io/yaml"

	"github.com/pec-operator/pec-operator/internal/calendar"
	"github.com/pec-operator/pec-operator/internal/jobs"
	"github.com/pec-operator/pec-operator/internal/mailtest"
	"github.com/pec-operator/pec-operator/test/road"
)

const (
	office    = "comune-esempio"
	oldDomain = "pec.rupar.test"
	newDomain = "pec.comune-esempio.test"
	oldHost   = "imaps.rupar.svc.cluster.local"
	parola    = "una parola lunga"
)

// The pods of Jobs, as clusters run them: with volumes, Secrets, names and certificates, in a namespace that admits restricted pods
// only. Each test names its own mailboxes, so that sites that were kept can be used again.
func TestJobs(t *testing.T) {
	kubectl(t, "a", "label", "namespace", office, "--overwrite", "pod-security.kubernetes.io/enforce=restricted")
	defer kubectl(t, "a", "label", "namespace", office, "--overwrite", "pod-security.kubernetes.io/enforce=baseline")
	for _, sample := range []string{"migration-letter.yaml", "retention-office.yaml"} {
		t.Log(kubectl(t, "a", "apply", "--dry-run=server", "-f", filepath.Join(r.Root, "config/samples", sample)))
	}
	t.Run("group", func(t *testing.T) {
		t.Run("a provider's letter moves who asked, with proof", providersLetter)
		t.Run("an office's archive holds what is old", officesArchive)
		t.Run("a domain of a stack moves to another, after a rehearsal in its window", domainMoves)
		t.Run("Secrets that differ are told at both sites", secretsDiffer) // no Job, but a minute's wait
	})
}

// letter is one migration from the old provider.
type letter struct {
	name          string
	asked         []string // local parts
	silent        string   // who did not ask
	asking        calendar.Local
	blocked, open time.Time
	perSecond     int
	token         string
}

func providersLetter(t *testing.T) {
	t.Parallel()
	suffix := strings.ToLower(rand.Text()[:6])
	l := letter{name: "trasloco-" + suffix, asked: []string{"anna-" + suffix, "mario-" + suffix}, silent: "luigi-" + suffix,
		asking: local(t, time.Now().Add(-time.Minute)), blocked: time.Now().Add(time.Hour), open: time.Now().Add(2 * time.Hour), perSecond: lettersPerSecond, token: "r1"}
	everybody := append([]string{l.silent}, l.asked...)
	server, ca := startOldProvider(t, everybody)
	before := map[string]map[string]int{}
	for i, person := range everybody {
		old := mailtest.Holder{Server: server, Address: person + "@" + oldDomain, Password: parola}
		old.Fill(t, i*lettered, (i+1)*lettered)
		before[person] = old.Snapshot(t, mailtest.Copied)
	}
	manifests := newMailbox(l.silent, parola) + newMailbox(l.asked[0], parola) + newMailbox(l.asked[1], parola)
	for _, site := range road.SiteNames {
		apply(t, site, manifests)
	}
	for _, person := range everybody {
		kubectl(t, "a", "wait", "--for=condition=Ready", "-n", office, "mailbox/"+person+"."+"at."+newDomain, "--timeout=60s")
	}
	at, err := r.Account(t.Context(), "a", municipality)
	if err != nil {
		t.Fatal(err)
	}
	copied := func(person string) map[string]int {
		ours := mailtest.Holder{Server: net.JoinHostPort(at.Host, "993"), Address: person + "@" + newDomain, Password: parola}
		return ours.Snapshot(t, func(folder string) string { return folder })
	}
	equal := func(when string) {
		t.Helper()
		for _, person := range l.asked {
			if diff := cmp.Diff(before[person], copied(person)); diff != "" {
				t.Errorf("%s, %s: -source +copy:\n%.2000s", when, person, diff)
			}
		}
	}

	secrets := secretOf(t, office, "rupar-ca", map[string]string{"ca.crt": ca}) + secretOf(t, office, "rupar-password", map[string]string{"password": parola})
	for _, site := range road.SiteNames {
		apply(t, site, secrets+l.manifest())
	}
	tidy(t, "delete", "mbxmig", "-n", office, l.name)
	seen := map[string]func() string{}
	for _, site := range road.SiteNames {
		seen[site] = watch(t, site, l.name)
	}
	began := time.Now()
	pass := jobs.Name("MailboxMigration", l.name, "copy-"+calendar.InRome(l.asking.UTC()).Format("20060102"))
	for index, kill := range []func(pod string){
		func(pod string) {
			if err := killContainer(t, "a", office, pod, "job"); err != nil {
				t.Fatal(err)
			}
		},
		func(pod string) { kubectl(t, "a", "delete", "pod", "-n", office, pod, "--grace-period=0", "--force") },
	} {
		eventually(t, time.Minute, func() error {
			if n := total(copied(l.asked[index])); n < lettered/10 {
				return fmt.Errorf("%d messages are copied; pods:\n%s", n, kubectl(t, "a", "get", "pods", "-n", office, "-o", "wide"))
			}
			return nil
		})
		if index == 0 {
			t.Logf("in mid-copy:\n%s", l.view(t))
		}
		kill(kubectl(t, "a", "get", "pods", "-n", office, "-o", "jsonpath={.items[0].metadata.name}", "--field-selector=status.phase=Running",
			"-l", fmt.Sprintf("batch.kubernetes.io/job-name=%s,batch.kubernetes.io/job-completion-index=%d", pass, index)))
		if n := total(copied(l.asked[index])); n >= lettered {
			t.Errorf("the copy of %s was complete when its pod was killed", l.asked[index])
		} else {
			t.Logf("killed after %d of %d messages", n, lettered)
		}
	}
	l.await(t, `{.status.mailboxes.copied}`, "2")
	t.Logf("two mailboxes of %d messages, at %d a second, two kills: %v\n%s", lettered, l.perSecond, time.Since(began), l.view(t))
	equal("after the pass")

	l.blocked, l.open, l.perSecond = time.Now().Add(-2*time.Second), time.Now().Add(-time.Second), 10000
	l.everywhere(t)
	l.await(t, `{.status.conditions[?(@.type=="PhasesSettled")].reason} {.status.mailboxes.verified}`, "AwaitingCutOver 2")
	t.Logf("verified:\n%s", l.view(t))
	if saved := l.saved(t, "final-delta.Done"); saved != 0 {
		t.Errorf("the second run added %d messages", saved)
	}
	equal("after the second run")

	l.token = "r2"
	l.everywhere(t)
	for _, site := range road.SiteNames {
		kubectl(t, site, "wait", "--for=condition=Succeeded", "-n", office, "mbxmig/"+l.name, "--timeout=60s")
		t.Logf("at site %s:\n%s", site, seen[site]())
	}
	equal("after the token changed")
	// The old provider, which was to be read only, takes changes still.
	if kept := kubectl(t, "b", "get", "mbxmig", "-n", office, l.name, "-o", promises); kept != "PromiseBroken" {
		t.Errorf("of the promises site b says %q", kept)
	}
	for _, person := range everybody {
		old := mailtest.Holder{Server: server, Address: person + "@" + oldDomain, Password: parola}
		if diff := cmp.Diff(before[person], old.Snapshot(t, mailtest.Copied)); diff != "" {
			t.Errorf("the source of %s changed:\n%.2000s", person, diff)
		}
	}
	if got := copied(l.silent); len(got) > 0 {
		t.Errorf("%s did not ask, and has %d messages", l.silent, total(got))
	}
	for _, site := range road.SiteNames {
		kubectl(t, site, "delete", "mbxmig", "-n", office, l.name)
	}
	equal("after the migration was deleted")
}

// everywhere applies the letter at both sites.
func (l letter) everywhere(t *testing.T) {
	t.Helper()
	for _, site := range road.SiteNames {
		apply(t, site, l.manifest())
	}
}

// manifest is the letter in YAML.
func (l letter) manifest() string {
	listed := ""
	for _, person := range l.asked {
		listed += fmt.Sprintf("  - {address: %s@%s, sourceCredentials: {name: rupar-password}, request: {protocol: 2026/1, date: 2026-01-12}}\n", person, oldDomain)
	}
	moment := func(at time.Time) string { return calendar.InRome(at).Format("2006-01-02T15:04:05") }
	return fmt.Sprintf(`---
apiVersion: pec-operator.dev/v1alpha1
kind: MailboxMigration
metadata: {name: %s, namespace: %s}
spec:
  source: {type: IMAP, imap: {host: %s, caSecretRef: {secretName: rupar-ca}}}
  target: {domainRef: {name: %s}}
  mailboxes:
%s  calendar:
    timeZone: Europe/Rome
    ifMissed: RunLate
    phases:
    - {name: RequestsClose, at: "%s"}
    - {name: BlockSending, at: "%[7]s"}
    - {name: OldReadOnly, at: "%[7]s", endpoint: %[3]s}
    - {name: OpenNew, at: "%[8]s"}
  copy: {maxMessagesPerSecond: %d}
  run: {token: %s}
`, l.name, office, oldHost, newDomain, listed, l.asking, moment(l.blocked), moment(l.open), l.perSecond, l.token)
}

// promises is where kubectl finds what became of the letter's promises.
const promises = `jsonpath={.status.conditions[?(@.type=="PromisesKept")].reason}`

// watch is the progress view of a migration at a site, as kubectl shows it until the answer is called.
func watch(t *testing.T, site, name string) (seen func() string) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	out := make(chan string, 1)
	go func() {
		text, _ := r.Kubectl(ctx, site, "get", "mbxmig", "-w", "-n", office, name) // it ends by being killed
		out <- text
	}()
	t.Cleanup(cancel)
	return func() string {
		cancel()
		return <-out
	}
}

// view is what a person sees who looks at the migration.
func (l letter) view(t *testing.T) string {
	t.Helper()
	return kubectl(t, "a", "get", "mbxmig", "-n", office, l.name)
}

func (l letter) await(t *testing.T, path, want string) {
	t.Helper()
	eventually(t, 5*time.Minute, func() error { // a letter of 6,000 messages on a busy machine
		if got := kubectl(t, "a", "get", "mbxmig", "-n", office, l.name, "-o", "jsonpath="+path); got != want {
			return fmt.Errorf("%s is %q, want %q:\n%s\n%s", path, got, want, kubectl(t, "a", "get", "mbxmig", "-n", office, l.name, "-o", "wide"),
				kubectl(t, "a", "get", "pods", "-n", office))
		}
		return nil
	})
}

// saved is how many messages a slot added, as the ledger says.
func (l letter) saved(t *testing.T, slot string) int {
	t.Helper()
	line := kubectl(t, "a", "get", "configmap", "-n", office, jobs.Name("MailboxMigration", l.name, "ledger"), "-o", "jsonpath={.data."+strings.ReplaceAll(slot, ".", `\.`)+"}")
	var entry struct{ Outcome struct{ Saved *int } }
	if err := json.Unmarshal([]byte(line), &entry); err != nil || entry.Outcome.Saved == nil {
		t.Fatalf("the ledger says of %s: %q (%v)", slot, line, err)
	}
	return *entry.Outcome.Saved
}

const (
	unionDomain = "pec.unione-esempio.test"
	stackIMAP   = "imaps.gestore-uno.test"
	moving      = 30 // messages of a mailbox that moves from one domain of a stack to another
)

// domainMoves rehearses in a window and moves then. The source is a domain of the stack that also takes the copies.
func domainMoves(t *testing.T) {
	t.Parallel()
	person := "carla-" + strings.ToLower(rand.Text()[:6])
	name := "unione-" + person
	target := fmt.Sprintf(`---
apiVersion: pec-operator.dev/v1alpha1
kind: PECDomain
metadata: {name: %[1]s, namespace: %[2]s}
spec:
  holder: {name: Unione di Esempio}
  preferredSite: a
  dns: {mode: Ignore}
  provider: {type: Hosted, hosted: {host: {name: pec.gestore-uno.test, namespace: gestore-uno}}}
`, unionDomain, office)
	mailbox := newMailbox(person, parola)
	_, mailbox, _ = strings.Cut(mailbox, "---\napiVersion: pec-operator.dev")
	mailbox = "---\napiVersion: pec-operator.dev" + strings.ReplaceAll(mailbox, newDomain, unionDomain)
	for _, site := range road.SiteNames {
		apply(t, site, target+newMailbox(person, parola)+mailbox)
	}
	for _, domain := range []string{newDomain, unionDomain} {
		kubectl(t, "a", "wait", "--for=condition=Ready", "-n", office, "mailbox/"+person+".at."+domain, "--timeout=60s")
	}
	at, err := r.Account(t.Context(), "a", municipality)
	if err != nil {
		t.Fatal(err)
	}
	holder := func(domain string) mailtest.Holder {
		return mailtest.Holder{Server: net.JoinHostPort(at.Host, "993"), Address: person + "@" + domain, Password: parola}
	}
	client := holder(newDomain).Login(t)
	defer client.Close()
	if err := client.Create("Prot/2021", nil).Wait(); err != nil {
		t.Fatal(err)
	}
	for i := range moving {
		raw, flags, date := mailtest.Adverse(i)
		mailtest.Append(t, client, []string{"INBOX", "Prot/2021"}[i%2], raw, flags, date)
	}
	same := func(folder string) string { return folder }
	before := holder(newDomain).Snapshot(t, same)

	opens := time.Now().Add(10 * time.Second).Truncate(time.Minute).Add(time.Minute)
	moment := func(at time.Time) string { return calendar.InRome(at).Format("2006-01-02T15:04:05") }
	asking := time.Now().Add(-time.Minute)
	manifest := func(blocked, open time.Time, copy, token string) string {
		return fmt.Sprintf(`---
apiVersion: pec-operator.dev/v1alpha1
kind: MailboxMigration
metadata: {name: %[1]s, namespace: %[2]s}
spec:
  source: {type: Domain, domainRef: {name: %[3]s}}
  target: {domainRef: {name: %[4]s}}
  mailboxes:
  - {address: %[5]s@%[3]s, sourceCredentials: {name: %[5]s-password}, request: {protocol: 2026/2, date: 2026-01-12}}
  keep: [Password, Endpoints, SendingLimits]
  calendar:
    timeZone: Europe/Rome
    ifMissed: RunLate
    phases:
    - {name: RequestsClose, at: "%[6]s"}
    - {name: BlockSending, at: "%[7]s"}
    - {name: OldReadOnly, at: "%[7]s", endpoint: %[11]s}
    - {name: OpenNew, at: "%[8]s"}
  copy: %[9]s
  run: {token: %[10]s}
`, name, office, newDomain, unionDomain, person, moment(asking), moment(blocked), moment(open), copy, token, stackIMAP)
	}
	everywhere := func(manifest string) {
		t.Helper()
		for _, site := range road.SiteNames {
			apply(t, site, manifest)
		}
	}
	l := letter{name: name}
	window := fmt.Sprintf(`{dryRun: Enabled, windows: [{opens: "%s", closes: "%s"}]}`, calendar.InRome(opens).Format("15:04"), calendar.InRome(opens.Add(6*time.Hour)).Format("15:04")) // the final copy must find it open
	everywhere(manifest(time.Now().Add(2*time.Hour), time.Now().Add(3*time.Hour), window, "r1"))
	tidy(t, "delete", "mbxmig", "-n", office, name)
	l.await(t, `{.status.phases[?(@.name=="RequestsClose")].state}`, "Done")
	pass := jobs.Name("MailboxMigration", name, "copy-"+calendar.InRome(asking).Format("20060102"))
	if out := kubectl(t, "a", "get", "pods", "-n", office, "-l", "batch.kubernetes.io/job-name="+pass, "-o", "name"); out != "" && time.Now().Before(opens) {
		t.Errorf("pods run before the window opens: %s", out)
	}
	l.await(t, `{.status.messages}`, fmt.Sprint(moving))
	if now := time.Now(); now.Before(opens) {
		t.Errorf("the pass was over at %s, and its window opens at %s", now, opens)
	}
	if would := l.saved(t, "copy-"+calendar.InRome(asking).Format("20060102")+".Done"); would != moving {
		t.Errorf("the rehearsal would copy %d messages", would)
	}
	if got := holder(unionDomain).Snapshot(t, same); total(got) > 0 {
		t.Errorf("the rehearsal wrote %d messages", total(got))
	}
	t.Logf("rehearsed:\n%s", l.view(t))

	everywhere(manifest(time.Now().Add(-2*time.Second), time.Now().Add(-time.Second), "{dryRun: Disabled}", "r1"))
	l.await(t, `{.status.conditions[?(@.type=="PhasesSettled")].reason} {.status.mailboxes.verified}`, "AwaitingCutOver 1")
	for _, site := range road.SiteNames {
		eventually(t, time.Minute, func() error {
			if rule := kubectl(t, site, "get", "mailbox", "-n", office, person+".at."+newDomain, "-o", "jsonpath={.status.effectiveAccess.reason}"); rule != "MigrationOldReadOnly" {
				return fmt.Errorf("at site %s the old mailbox's access is by %q", site, rule)
			}
			return nil
		})
	}
	everywhere(manifest(time.Now().Add(-2*time.Second), time.Now().Add(-time.Second), "{dryRun: Disabled}", "r2"))
	for _, site := range road.SiteNames {
		kubectl(t, site, "wait", "--for=condition=Succeeded", "-n", office, "mbxmig/"+name, "--timeout=60s")
		t.Logf("at site %s:\n%s", site, kubectl(t, site, "get", "mbxmig", "-n", office, name, "-o", `jsonpath={range .status.conditions[*]}{.type}={.status} {.reason}: {.message}{"\n"}{end}`))
	}
	// Its own stack's endpoint was found read-only, because the source's rows say so by then.
	if kept := kubectl(t, "a", "get", "mbxmig", "-n", office, name, "-o", promises); kept != "AllKept" {
		t.Errorf("of the promises it says %q", kept)
	}
	for domain, when := range map[string]string{unionDomain: "the copy", newDomain: "the source"} {
		if diff := cmp.Diff(before, holder(domain).Snapshot(t, same)); diff != "" {
			t.Errorf("%s: -source +now:\n%.2000s", when, diff)
		}
	}
}

// startOldProvider starts a Dovecot in a namespace that the operator knows nothing of, and answers where the test reaches it and its
// self-signed certificate.
func startOldProvider(t *testing.T, people []string) (server, ca string) {
	t.Helper()
	cert, key := mailtest.SelfSigned(t, oldHost)
	users := ""
	for _, person := range people {
		users += fmt.Sprintf("%s@%s:{PLAIN}%s::::::\n", person, oldDomain, parola)
	}
	apply(t, "a", "---\napiVersion: v1\nkind: Namespace\nmetadata: {name: rupar, labels: {pod-security.kubernetes.io/enforce: restricted}}\n")
	tidy(t, "delete", "namespace", "rupar")
	apply(t, "a", secretOf(t, "rupar", "dovecot", map[string]string{"dovecot.conf": mailtest.ProviderConfig, "users": users, "tls.crt": cert, "tls.key": key})+fmt.Sprintf(`---
apiVersion: v1
kind: Service
metadata: {name: imaps, namespace: rupar}
spec: {type: LoadBalancer, selector: {app: dovecot}, ports: [{port: 993, targetPort: %d}]}
---
apiVersion: v1
kind: Pod
metadata: {name: dovecot, namespace: rupar, labels: {app: dovecot}}
spec:
%s  - name: dovecot
    image: %s
    command: [dovecot, -F, -c, /etc/pec/dovecot.conf]
    readinessProbe: {tcpSocket: {port: %[1]d}, periodSeconds: 1}
    securityContext: {allowPrivilegeEscalation: false, capabilities: {drop: [ALL]}}
    volumeMounts: [{name: settings, mountPath: /etc/pec, readOnly: true}, {name: run, mountPath: /run/dovecot}, {name: mail, mountPath: /srv/mail}]
  volumes:
  - name: settings
    secret: {secretName: dovecot, items: [{key: dovecot.conf, path: dovecot.conf}, {key: users, path: users}, {key: tls.crt, path: tls/tls.crt}, {key: tls.key, path: tls/tls.key}]}
  - {name: run, emptyDir: {}}
  - {name: mail, emptyDir: {}}
`, mailtest.ProviderPort, restrictedPod, r.MailImage()))
	kubectl(t, "a", "wait", "--for=condition=Ready", "-n", "rupar", "pod/dovecot", "--timeout=60s")
	eventually(t, 30*time.Second, func() error {
		at := kubectl(t, "a", "get", "service", "-n", "rupar", "imaps", "-o", "jsonpath={.status.loadBalancer.ingress[0].ip}")
		server = net.JoinHostPort(at, "993")
		conn, err := net.DialTimeout("tcp", server, time.Second)
		if err == nil {
			err = conn.Close()
		}
		return err
	})
	return server, cert
}

const (
	ancient = 20 // messages of an office that are older than its policy's age
	recent  = 5
)

// restrictedPod begins the spec of a pod of the tests' own.
const restrictedPod = `  automountServiceAccountToken: false
  terminationGracePeriodSeconds: 0
  securityContext: {runAsNonRoot: true, runAsUser: 5000, runAsGroup: 5000, fsGroup: 5000, seccompProfile: {type: RuntimeDefault}}
  containers:
`

func officesArchive(t *testing.T) {
	t.Parallel()
	name := "archivio-" + strings.ToLower(rand.Text()[:6])
	holder := oldOffice(t, name)
	due := nextMinute()
	policy := fmt.Sprintf(`---
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: %[1]s, namespace: %[2]s}
spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Gi}}}
---
apiVersion: pec-operator.dev/v1alpha1
kind: RetentionPolicy
metadata: {name: %[1]s, namespace: %[2]s}
spec:
  mailboxes: {type: Referring}
  archive: {olderThanDays: 90, destination: {type: VolumeClaim, volumeClaim: {name: %[1]s}}}
  schedule: {at: "%[3]s", timeZone: Europe/Rome}
`, name, office, calendar.InRome(due).Format("15:04"))
	onBothSites(t, policy)
	tidy(t, "delete", "pecret", "-n", office, name)
	view := func() string { return kubectl(t, "a", "get", "pecret", "-n", office, name, "-o", "wide") }
	eventually(t, time.Until(due)+time.Minute, func() error {
		if state := kubectl(t, "a", "get", "pecret", "-n", office, name, "-o", "jsonpath={.status.runs[0].state} {.status.runs[0].archived}"); state != fmt.Sprintf("Done %d", ancient) {
			return fmt.Errorf("the run is %q:\n%s\n%s", state, view(), kubectl(t, "a", "get", "pods", "-n", office))
		}
		return nil
	})
	t.Logf("archived %v after it was due:\n%s", time.Since(due), view())

	sh := readerOf(t, name)
	packages := "/archive/" + newDomain + "/" + name + "/*.tar"
	verify := func() (status string) {
		t.Helper()
		said := sh("pec-operator retain verify " + packages + " 2>&1; echo status $?")
		t.Log(said)
		return said[strings.LastIndex(said, "status"):]
	}
	if status := verify(); status != "status 0" {
		t.Errorf("the archive is not good: %s", status)
	}
	flip := "f=$(ls " + packages + "); chmod u+w $f; n=$(($(stat -c %s $f) / 2)); " +
		"b=$(dd if=$f bs=1 skip=$n count=1 status=none | od -An -tu1); printf \"\\\\$(printf %03o $((b ^ 1)))\" | dd of=$f bs=1 seek=$n conv=notrunc status=none"
	sh(flip)
	if status := verify(); status != "status 2" {
		t.Errorf("a flipped byte was not found: %s", status)
	}
	sh(flip)
	giveBack(t, holder, func(ask string) { onBothSites(t, policy+"  restore: "+ask+"\n") })
	for _, site := range road.SiteNames {
		kubectl(t, site, "delete", "pecret", "-n", office, name)
	}
	eventually(t, 30*time.Second, func() error {
		if left := kubectl(t, "a", "get", "jobs", "-n", office, "-o", `jsonpath={.items[?(@.metadata.annotations.pec-operator\.dev/job-owner=="RetentionPolicy/`+name+`")].metadata.name}`); left != "" {
			return fmt.Errorf("Job %s is still there", left)
		}
		return nil
	})
	if status := verify(); status != "status 0" {
		t.Errorf("the archive did not outlive its policy: %s", status)
	}
}

// nextMinute is the first whole minute that a policy that is applied now sees come.
func nextMinute() time.Time {
	return time.Now().Add(5 * time.Second).Truncate(time.Minute).Add(time.Minute)
}

func onBothSites(t *testing.T, manifests string) {
	t.Helper()
	for _, site := range road.SiteNames {
		apply(t, site, manifests)
	}
}

// oldOffice makes a mailbox under the policy of the same name, with old messages and young ones in two folders.
func oldOffice(t *testing.T, name string) mailtest.Holder {
	t.Helper()
	onBothSites(t, newMailbox(name, parola)+"  retentionPolicyRef: {name: "+name+"}\n")
	kubectl(t, "a", "wait", "--for=condition=Ready", "-n", office, "mailbox/"+name+".at."+newDomain, "--timeout=60s")
	at, err := r.Account(t.Context(), "a", municipality)
	if err != nil {
		t.Fatal(err)
	}
	holder := mailtest.Holder{Server: net.JoinHostPort(at.Host, "993"), Address: name + "@" + newDomain, Password: parola}
	client := holder.Login(t)
	defer client.Close()
	if err := client.Create("Prot/2021", nil).Wait(); err != nil {
		t.Fatal(err)
	}
	for i := range ancient + recent {
		date := time.Now().AddDate(0, 0, -200)
		if i >= ancient {
			date = time.Now().AddDate(0, 0, -10)
		}
		raw, flags, _ := mailtest.Adverse(i)
		mailtest.Append(t, client, []string{"INBOX", "Prot/2021"}[i%2], raw, append(flags, imap.FlagSeen), date)
	}
	return holder
}

// giveBack lets the holder lose the old messages of the inbox, and has them restored by YAML: twice, of which the second adds nothing.
func giveBack(t *testing.T, holder mailtest.Holder, ask func(string)) {
	t.Helper()
	name, _, _ := strings.Cut(holder.Address, "@")
	kept := func(folder string) string { return strings.TrimPrefix(folder, "Per il ricorso/") }
	before := holder.Snapshot(t, kept)
	client := holder.Login(t)
	defer client.Close()
	if _, err := client.Select("INBOX", nil).Wait(); err != nil {
		t.Fatal(err)
	}
	old := imap.SeqSet{imap.SeqRange{Start: 1, Stop: ancient / 2}}
	if err := client.Store(old, &imap.StoreFlags{Op: imap.StoreFlagsAdd, Flags: []imap.Flag{imap.FlagDeleted}, Silent: true}, nil).Close(); err != nil {
		t.Fatal(err)
	}
	if err := client.Expunge().Close(); err != nil {
		t.Fatal(err)
	}
	if left := total(holder.Snapshot(t, kept)); left != ancient/2+recent {
		t.Fatalf("after the holder lost %d messages %d are left", ancient/2, left)
	}
	for _, round := range []struct{ token, counted string }{{"r1", fmt.Sprint("Done ", ancient/2, " 0")}, {"r2", fmt.Sprint("Done 0 ", ancient/2)}} {
		began := time.Now()
		ask(fmt.Sprintf("{token: %s, mailbox: %s, messages: {folder: INBOX}, into: Per il ricorso}", round.token, holder.Address))
		eventually(t, time.Minute, func() error {
			got := kubectl(t, "a", "get", "pecret", "-n", office, name, "-o", "jsonpath={.status.restore.token} {.status.restore.state} {.status.restore.restored} {.status.restore.present}")
			if got != round.token+" "+round.counted {
				return fmt.Errorf("the restore is %q, want %q:\n%s", got, round.counted, kubectl(t, "a", "get", "pecret", "-n", office, name, "-o", "yaml"))
			}
			return nil
		})
		t.Logf("restore %s: %s in %v", round.token, round.counted, time.Since(began))
		if diff := cmp.Diff(before, holder.Snapshot(t, kept)); diff != "" {
			t.Errorf("after restore %s: -before +after:\n%.2000s", round.token, diff)
		}
	}
	shown, err := client.List("", "Per il ricorso/*", &imap.ListOptions{SelectSubscribed: true}).Collect()
	if err != nil || len(shown) != 1 || shown[0].Mailbox != "Per il ricorso/INBOX" {
		t.Errorf("a client that shows what it is subscribed to shows %v (%v)", shown, err)
	}
}

// readerOf starts a pod that holds an archive's claim, and answers a shell in it. Both end with the test.
func readerOf(t *testing.T, claim string) (sh func(script string) string) {
	t.Helper()
	apply(t, "a", fmt.Sprintf(`---
apiVersion: v1
kind: Pod
metadata: {name: %[1]s, namespace: %[2]s}
spec:
%[3]s  - name: reader
    image: %[4]s
    command: [sleep, infinity]
    securityContext: {allowPrivilegeEscalation: false, capabilities: {drop: [ALL]}}
    volumeMounts: [{name: archive, mountPath: /archive}]
  volumes: [{name: archive, persistentVolumeClaim: {claimName: %[1]s}}]
`, claim, office, restrictedPod, r.MailImage()))
	tidy(t, "delete", "pod,pvc", "-n", office, claim)
	kubectl(t, "a", "wait", "--for=condition=Ready", "-n", office, "pod/"+claim, "--timeout=60s")
	return func(script string) string {
		t.Helper()
		return strings.TrimSpace(kubectl(t, "a", "exec", "-n", office, claim, "--", "sh", "-c", script))
	}
}

func total(snapshot map[string]int) (n int) {
	for _, count := range snapshot {
		n += count
	}
	return n
}

func local(t *testing.T, at time.Time) calendar.Local {
	t.Helper()
	l, err := calendar.LocalAt(at)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func apply(t *testing.T, site, manifests string) {
	t.Helper()
	if err := r.Apply(t.Context(), site, manifests); err != nil {
		t.Fatal(err)
	}
}

func secretOf(t *testing.T, namespace, name string, data map[string]string) string {
	t.Helper()
	raw, err := yaml.Marshal(map[string]any{"apiVersion": "v1", "kind": "Secret", "metadata": map[string]string{"namespace": namespace, "name": name}, "stringData": data})
	if err != nil {
		t.Fatal(err)
	}
	return "---\n" + string(raw)
}

// tidy runs kubectl at both sites when the test is over, where it may fail: site b has not all that site a has.
func tidy(t *testing.T, args ...string) {
	t.Cleanup(func() {
		for _, site := range road.SiteNames {
			if _, err := r.Kubectl(context.WithoutCancel(t.Context()), site, append(args, "--ignore-not-found")...); err != nil {
				t.Log(err)
			}
		}
	})
}
