//go:build soak

package retention

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/minio/minio-go/v7"

	"github.com/pec-operator/pec-operator/internal/s3test"
)

const lockedBucket, plainBucket = "archivio-bloccato", "archivio-libero"

// startService starts a real S3 server with two buckets: one with object lock, one without.
func startService(t *testing.T) *s3test.Server {
	t.Helper()
	s := s3test.Start(t, "../..", "", "127.0.0.1")
	s.MakeBucket(t, lockedBucket, true)
	s.MakeBucket(t, plainBucket, false)
	return s
}

func open(t *testing.T, s *s3test.Server, bucket string, until time.Time) (*Bucket, error) {
	t.Helper()
	return OpenBucket(t.Context(), S3{Endpoint: s.URL, Bucket: bucket, Prefix: "comune", Region: s3test.Region, RetainUntil: until}, Keys{ID: s.ID, Secret: s.Secret}, s.Roots())
}

func TestARealBucketKeepsWhatItWasGiven(t *testing.T) {
	s := startService(t)
	until := time.Now().AddDate(0, 30, 0)
	if _, err := open(t, s, plainBucket, until); !errors.Is(err, errNoLock) {
		t.Errorf("a bucket without object lock, where one is asked for: %v", err)
	}
	if _, err := OpenBucket(t.Context(), S3{Endpoint: s.URL, Bucket: lockedBucket, RetainUntil: until}, Keys{ID: "archivio", Secret: "other"}, s.Roots()); err == nil || errors.Is(err, errNoLock) {
		t.Errorf("wrong keys: %v", err)
	}
	smallPackages(t, 100)
	for name, bucket := range map[string]struct {
		name  string
		until time.Time
	}{"with object lock": {lockedBucket, until}, "without": {plainBucket, time.Time{}}} {
		t.Run(name, func(t *testing.T) {
			place, err := open(t, s, bucket.name, bucket.until)
			if err != nil {
				t.Fatal(err)
			}
			box := newMailbox(t, 500)
			result := archive(t, box, place, task(t, noon))
			if diff := cmp.Diff(box.all(), restoredFrom(t, place).all()); diff != "" {
				t.Error(diff)
			}
			if again := archive(t, box, place, task(t, noon)); again.Archived != 0 || again.Messages != result.Messages {
				t.Errorf("a second run: %+v", again)
			}
			if bucket.until.IsZero() {
				return
			}
			key := "comune/" + result.Packages[0].Name
			object, err := s.Client.StatObject(context.Background(), bucket.name, key, minio.StatObjectOptions{})
			if err != nil {
				t.Fatal(err)
			}
			err = s.Client.RemoveObject(context.Background(), bucket.name, key, minio.RemoveObjectOptions{VersionID: object.VersionID, GovernanceBypass: true})
			if err == nil {
				t.Error("the service let a package be deleted")
			}
		})
	}
}

func TestARealBucketTakesANameOnce(t *testing.T) {
	s := startService(t)
	place, err := open(t, s, lockedBucket, time.Now().AddDate(0, 1, 0))
	if err != nil {
		t.Fatal(err)
	}
	checkPlace(t, place)
}
