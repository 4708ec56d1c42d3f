package retention

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"
)

// Bucket is a place in an S3 service.
type Bucket struct {
	client *minio.Client
	name   string
	prefix string
	// retainUntil is how long the service itself must refuse to delete what is put; zero is no such demand.
	retainUntil time.Time
}

// S3 says which bucket, as a plan does.
type S3 struct {
	Endpoint string `json:"endpoint"` // https://host[:port]
	Bucket   string `json:"bucket"`
	Prefix   string `json:"prefix,omitempty"`
	Region   string `json:"region,omitempty"`
	// RetainUntil asks for object lock until then; zero is none.
	RetainUntil time.Time `json:"retainUntil,omitzero"`
}

// Keys are what a bucket is opened with.
type Keys struct{ ID, Secret string }

// String keeps a key out of every log that prints the struct.
func (Keys) String() string { return "(keys)" }

// GoString is String for %#v.
func (k Keys) GoString() string { return k.String() }

// errNoLock is the fault of a bucket that lets its objects be deleted, where the policy asks for one that does not.
var errNoLock = errors.New("the bucket has no object lock: make one with object lock enabled, or set destination.s3.objectLock to NotRequired")

// partSize of an upload in parts, in bytes: what is held in memory of it.
const partSize = 16 << 20

// OpenBucket makes the client of a bucket and asks whether the bucket does what is demanded of it.
func OpenBucket(ctx context.Context, s S3, keys Keys, roots *x509.CertPool) (*Bucket, error) {
	endpoint, err := url.Parse(s.Endpoint)
	if err != nil || endpoint.Host == "" || endpoint.Scheme != "https" {
		return nil, fmt.Errorf("opening bucket %s: %q is not https://host[:port]", s.Bucket, s.Endpoint)
	}
	transport, err := minio.DefaultTransport(true)
	if err != nil {
		return nil, fmt.Errorf("opening bucket %s: %w", s.Bucket, err)
	}
	transport.TLSClientConfig = &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: roots}
	client, err := minio.New(endpoint.Host, &minio.Options{
		Creds: credentials.NewStaticV4(keys.ID, keys.Secret, ""), Secure: true, Region: s.Region, Transport: transport,
	})
	if err != nil {
		return nil, fmt.Errorf("opening bucket %s: %w", s.Bucket, err)
	}
	b := &Bucket{client: client, name: s.Bucket, prefix: s.Prefix, retainUntil: s.RetainUntil}
	if s.RetainUntil.IsZero() {
		return b, nil
	}
	state, _, _, _, err := client.GetObjectLockConfig(ctx, s.Bucket)
	switch {
	case minio.ToErrorResponse(err).StatusCode == http.StatusNotFound || (err == nil && state != "Enabled"):
		return nil, errNoLock
	case err != nil:
		return nil, fmt.Errorf("asking bucket %s for its object lock: %w", s.Bucket, err)
	}
	return b, nil
}

// Create implements Place.
func (b *Bucket) Create(ctx context.Context, name string, size int64, write func(io.Writer) error) error {
	// Some services keep no condition on an upload in parts; a name says what is under it, so nothing else could overwrite it.
	switch there, err := b.client.StatObject(ctx, b.name, b.key(name), minio.StatObjectOptions{}); {
	case err == nil:
		return errors.Join(fmt.Errorf("creating %s: %w", name, fs.ErrExist), b.checkLock(there))
	case minio.ToErrorResponse(err).StatusCode != http.StatusNotFound:
		return fmt.Errorf("creating %s: %w", name, err)
	}
	options := minio.PutObjectOptions{ContentType: "application/octet-stream", PartSize: partSize, NumThreads: 1}
	options.SetMatchETagExcept("*") // refuses a name that is taken
	if !b.retainUntil.IsZero() {
		options.Mode, options.RetainUntilDate = minio.Compliance, b.retainUntil
		options.SendContentMd5 = true // asked of whoever locks
	}
	reader, writer := io.Pipe()
	go func() { _ = writer.CloseWithError(write(writer)) }()
	info, err := b.client.PutObject(ctx, b.name, b.key(name), withheld{bufio.NewReader(reader)}, size, options)
	_ = reader.Close()
	switch {
	case minio.ToErrorResponse(err).StatusCode == http.StatusPreconditionFailed:
		return fmt.Errorf("creating %s: %w", name, fs.ErrExist)
	case err != nil:
		return fmt.Errorf("creating %s: %w", name, err)
	}
	there, err := b.client.StatObject(ctx, b.name, b.key(name), minio.StatObjectOptions{VersionID: info.VersionID})
	if err != nil {
		return fmt.Errorf("reading the lock of %s: %w", name, err)
	}
	return b.checkLock(there)
}

// errNotLocked is the fault of an object that the service would let be deleted.
var errNotLocked = errors.New("the service did not lock it for as long as it was asked to: see the bucket's object lock")

// checkLock sees that an object is locked as it should be, by its header: not every service answers the question for it alone.
func (b *Bucket) checkLock(object minio.ObjectInfo) error {
	if b.retainUntil.IsZero() {
		return nil
	}
	until, err := time.Parse(time.RFC3339, object.Metadata.Get("X-Amz-Object-Lock-Retain-Until-Date"))
	mode := minio.RetentionMode(object.Metadata.Get("X-Amz-Object-Lock-Mode"))
	if err != nil || mode != minio.Compliance || until.Before(b.retainUntil.Truncate(time.Second)) {
		return fmt.Errorf("%s: %w", object.Key, errNotLocked)
	}
	return nil
}

// Open implements Place.
func (b *Bucket) Open(ctx context.Context, name string) (io.ReadCloser, error) {
	object, err := b.client.GetObject(ctx, b.name, b.key(name), minio.GetObjectOptions{})
	if err == nil {
		_, err = object.Stat()
	}
	if minio.ToErrorResponse(err).StatusCode == http.StatusNotFound {
		err = fs.ErrNotExist
	}
	if err != nil {
		return nil, fmt.Errorf("opening %s: %w", name, err)
	}
	return object, nil
}

// List implements Place.
func (b *Bucket) List(ctx context.Context, folder string) ([]string, error) {
	var names []string
	top := b.key(folder) + "/"
	for object := range b.client.ListObjects(ctx, b.name, minio.ListObjectsOptions{Prefix: top}) {
		if object.Err != nil {
			return nil, fmt.Errorf("listing %s: %w", folder, object.Err)
		}
		if !strings.HasSuffix(object.Key, "/") {
			names = append(names, path.Join(folder, strings.TrimPrefix(object.Key, top)))
		}
	}
	slices.Sort(names)
	return names, nil
}

func (b *Bucket) key(name string) string { return path.Join(b.prefix, name) }

// withheld gives the last byte only when all is known to have come: an upload that lacks it is none.
type withheld struct{ *bufio.Reader }

func (w withheld) Read(b []byte) (int, error) {
	ahead, err := w.Peek(2)
	switch {
	case len(ahead) == 2:
		return w.Reader.Read(b[:min(len(b), w.Buffered()-1)])
	case len(ahead) == 1 && errors.Is(err, io.EOF):
		return w.Reader.Read(b)
	}
	return 0, err
}
