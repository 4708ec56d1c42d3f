//go:build soak

package e2e

import (
	"crypto/rand"
	"fmt"
	"path"
	"strings"
	"testing"
	"time"

	"github.com/minio/minio-go/v7"

	"github.com/pec-operator/pec-operator/internal/calendar"
	"github.com/pec-operator/pec-operator/internal/s3test"
	"github.com/pec-operator/pec-operator/test/road"
)

// A bucket that both sites reach: Jobs of the preferred site archive into it, and Jobs of both list, each from its own store, what of
// it would be due. A day cannot be waited for: the packages are copied under the name of a run of forty days ago, as S3 allows beside
// the ones that it locks.
func TestJobsIntoABucketThatBothSitesRead(t *testing.T) {
	const bucket = "archivio-bloccato"
	address, netns := r.Internet()
	s3 := s3test.Start(t, r.Root, netns, address)
	s3.MakeBucket(t, bucket, true)
	name := "secchio-" + strings.ToLower(rand.Text()[:6])
	holder := oldOffice(t, name)
	onBothSites(t, secretOf(t, office, name, map[string]string{"accessKeyID": s3.ID, "secretAccessKey": s3.Secret, "ca.crt": s3.CA}))
	tidy(t, "delete", "secret", "-n", office, name)
	policyOf := func(policy string, at time.Time, more string) string {
		return fmt.Sprintf(`---
apiVersion: pec-operator.dev/v1alpha1
kind: RetentionPolicy
metadata: {name: %s, namespace: %s}
spec:
  mailboxes: {type: Referring}
  archive:
    olderThanDays: 90
    keepMonths: 1
    destination: {type: S3, s3: {endpoint: "%s", bucket: %s, prefix: comune, region: %s, credentialsSecretRef: {secretName: %[6]s}, caSecretRef: {secretName: %[6]s}}}
  schedule: {at: "%[7]s", timeZone: Europe/Rome}
%[8]s`, policy, office, s3.URL, bucket, s3test.Region, name, calendar.InRome(at).Format("15:04"), more)
	}
	is := func(site, policy, paths, want string, within time.Duration) {
		t.Helper()
		eventually(t, within, func() error {
			if got := kubectl(t, site, "get", "pecret", "-n", office, policy, "-o", "jsonpath="+paths); got != want {
				return fmt.Errorf("at %s %s is %q, want %q:\n%s", site, policy, got, want, kubectl(t, site, "get", "pecret", "-n", office, policy, "-o", "yaml"))
			}
			return nil
		})
	}

	first := nextMinute()
	onBothSites(t, policyOf(name, first, ""))
	tidy(t, "delete", "pecret", "-n", office, name, name+"-due")
	is("a", name, "{.status.runs[0].state} {.status.runs[0].archived}", fmt.Sprint("Done ", ancient), time.Until(first)+90*time.Second)
	giveBack(t, holder, func(ask string) { onBothSites(t, policyOf(name, first, "  restore: "+ask+"\n")) })

	copied := 0
	for object := range s3.Client.ListObjects(t.Context(), bucket, minio.ListObjectsOptions{Prefix: "comune/" + newDomain + "/" + name + "/", Recursive: true}) {
		if object.Err != nil {
			t.Fatal(object.Err)
		}
		_, digest, _ := strings.Cut(path.Base(object.Key), "-")
		earlier := path.Join(path.Dir(object.Key), time.Now().AddDate(0, 0, -40).UTC().Format("20060102")+"-"+digest)
		if _, err := s3.Client.CopyObject(t.Context(), minio.CopyDestOptions{Bucket: bucket, Object: earlier}, minio.CopySrcOptions{Bucket: bucket, Object: object.Key}); err != nil {
			t.Fatal(err)
		}
		copied++
	}
	if copied != 2 {
		t.Fatalf("%d objects were copied, want a package and its seal", copied)
	}
	second := nextMinute()
	onBothSites(t, newMailbox(name, parola)+"  retentionPolicyRef: {name: "+name+"-due}\n"+policyOf(name+"-due", second, "  remove: {afterArchiveDays: 30, when: Archived}\n"))
	// The holder keeps what came to Prot/2021, and lost what came to the inbox: what was restored is elsewhere, and is nothing that is due.
	for _, site := range road.SiteNames {
		is(site, name+"-due", "{.status.dueForRemoval.count} {.status.dueForRemoval.sites} {.status.disputes}", fmt.Sprintf(`%d ["a","b"] 0`, ancient/2), time.Until(second)+3*time.Minute)
		t.Logf("site %s:\n%s", site, kubectl(t, site, "get", "pecret", "-n", office, name+"-due", "-o", "wide"))
	}
	if a, b := kubectl(t, "a", "get", "pecret", "-n", office, name+"-due", "-o", "jsonpath={.status.dueForRemoval.digest}"),
		kubectl(t, "b", "get", "pecret", "-n", office, name+"-due", "-o", "jsonpath={.status.dueForRemoval.digest}"); a != b || len(a) != 64 {
		t.Errorf("the lists are %s and %s", a, b)
	}
	if left := total(holder.Snapshot(t, func(folder string) string { return folder })); left != ancient+recent {
		t.Errorf("the mailbox has %d messages: something was removed", left)
	}
}
