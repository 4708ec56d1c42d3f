package pec

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"fmt"
	"io"
	"syscall"
	"testing"
	"time"
)

// cpuTime is what the process has used: the ratio must not depend on what else runs on the machine.
func cpuTime(b *testing.B) time.Duration {
	b.Helper()
	var used syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &used); err != nil {
		b.Fatal(err)
	}
	return time.Duration(used.Utime.Nano() + used.Stime.Nano())
}

// floor is how long one document of that size takes if nothing is done but the cryptography: the hash of its content and one
// signature.
func floor(b *testing.B, id identity, size int64) time.Duration {
	b.Helper()
	content := make([]byte, size)
	const atLeast = 200 * time.Millisecond
	start := cpuTime(b)
	for n := 1; ; n++ {
		digest := sha256.Sum256(content)
		if _, err := id.key.Sign(rand.Reader, digest[:], crypto.SHA256); err != nil {
			b.Fatal(err)
		}
		if spent := cpuTime(b) - start; spent > atLeast {
			return spent / time.Duration(n)
		}
	}
}

func verifies(public crypto.PublicKey, digest, signature []byte) bool {
	if key, ok := public.(*rsa.PublicKey); ok {
		return rsa.VerifyPKCS1v15(key, crypto.SHA256, digest, signature) == nil
	}
	return ecdsa.VerifyASN1(public.(*ecdsa.PublicKey), digest, signature)
}

// counter counts what is written.
type counter int64

func (c *counter) Write(p []byte) (int, error) {
	*c += counter(len(p))
	return len(p), nil
}

// BenchmarkStream writes documents around messages of several sizes. "crypto%" is the part of the processor time that is the floor: 100
// would be a builder that costs nothing. B/op is all that was asked of the heap, and must not grow with the message.
func BenchmarkStream(b *testing.B) {
	sizes := []struct {
		name string
		size int64
	}{{"10KB", 10 << 10}, {"1MB", 1 << 20}, {"30MB", 30 << 20}}
	keys := []struct {
		name string
		id   identity
	}{{"RSA-2048", rsaIdentity()}, {"P-256", ecdsaIdentity()}}
	for _, safe := range []bool{true, false} {
		for _, k := range keys {
			for _, size := range sizes {
				raw := must(io.ReadAll(largeMessage(size.size, safe)))
				message := sectionOf(raw)
				for name, write := range map[string]func(io.Writer) error{
					"envelope": func(w io.Writer) error {
						o, err := ReadOriginal(message)
						if err != nil {
							return err
						}
						return k.id.WriteEnvelope(w, provider, transit(), o, received, at)
					},
					"delivery": func(w io.Writer) error {
						return k.id.WriteDelivery(w, provider, transit(), noticeID, "bob@pec.other.example.it", raw, at)
					},
				} {
					b.Run(fmt.Sprintf("%s/%s/%s/%s", name, map[bool]string{true: "7bit", false: "base64"}[safe], k.name, size.name), func(b *testing.B) {
						benchmark(b, k.id, write)
					})
				}
			}
		}
	}
}

// BenchmarkAcceptance is the document that there are most of.
func BenchmarkAcceptance(b *testing.B) {
	for name, id := range map[string]identity{"RSA-2048": rsaIdentity(), "P-256": ecdsaIdentity()} {
		b.Run(name, func(b *testing.B) {
			benchmark(b, id, func(w io.Writer) error {
				raw, err := id.Acceptance(provider, transit(), noticeID, at)
				if err != nil {
					return err
				}
				_, err = w.Write(raw)
				return err
			})
		})
	}
}

func benchmark(b *testing.B, id identity, write func(io.Writer) error) {
	var size counter
	if err := write(&size); err != nil {
		b.Fatal(err)
	}
	b.SetBytes(int64(size))
	b.ReportAllocs()
	start := cpuTime(b)
	for b.Loop() {
		if err := write(io.Discard); err != nil {
			b.Fatal(err)
		}
	}
	spent := (cpuTime(b) - start) / time.Duration(b.N)
	b.ReportMetric(100*float64(floor(b, id, int64(size)))/float64(spent), "crypto%")
}

// BenchmarkMessage is all that one message to one recipient asks of the engines at both ends: envelope, acceptance, the judgement of the envelope,
// presa in carico, delivery receipt. "crypto%" is the cryptography's part: four signatures, the verification of one, and the hashes of what is
// signed and verified. "sign%" is that of the four signatures with their hashes alone.
func BenchmarkMessage(b *testing.B) {
	for _, k := range []struct {
		name string
		id   identity
	}{{"RSA-2048", rsaIdentity()}, {"RSA-3072", rsa3072Identity()}, {"P-256", ecdsaIdentity()}} {
		for _, size := range []struct {
			name string
			size int64
		}{{"10KB", 10 << 10}, {"1MB", 1 << 20}, {"30MB", 30 << 20}} {
			b.Run(k.name+"/"+size.name, func(b *testing.B) { benchmarkMessage(b, k.id, size.size) })
		}
	}
}

func benchmarkMessage(b *testing.B, id identity, size int64) {
	message := sectionOf(must(io.ReadAll(largeMessage(size, true))))
	var envelope bytes.Buffer
	makeDocuments := func() error {
		envelope.Reset()
		o, err := ReadOriginal(message)
		if err == nil {
			err = id.WriteEnvelope(&envelope, provider, transit(), o, received, at)
		}
		if err == nil {
			_, err = id.Acceptance(provider, transit(), noticeID, at)
		}
		if err != nil {
			return err
		}
		j := Classify(envelope.Bytes(), index(id), testCA().roots, at)
		if j.Type != TypeEnvelope {
			return fmt.Errorf("%v", j.Errors)
		}
		if _, err := id.TakeCharge(provider, j.Certification.Transit, noticeID, "servizio@pec.example.it", []string{"bob@pec.other.example.it"}, at); err != nil {
			return err
		}
		return id.WriteDelivery(io.Discard, provider, j.Certification.Transit, noticeID, "bob@pec.other.example.it", j.Postacert, at)
	}
	if err := makeDocuments(); err != nil {
		b.Fatal(err)
	}
	b.SetBytes(size)
	b.ReportAllocs()
	bare := newBare(b, id, size)
	var spent, signing, verifying time.Duration
	for b.Loop() {
		start := cpuTime(b)
		if err := makeDocuments(); err != nil {
			b.Fatal(err)
		}
		spent += cpuTime(b) - start
		b.StopTimer() // turn by turn, so that what else runs on the machine slows both
		signing, verifying = signing+bare.sign(b), verifying+bare.verify(b)
		b.StartTimer()
	}
	b.ReportMetric(100*float64(signing+verifying)/float64(spent), "crypto%")
	b.ReportMetric(100*float64(signing)/float64(spent), "sign%")
	b.ReportMetric(float64(spent)/float64(b.N)/float64(time.Millisecond), "cpu-ms/op")
}

// bare is the cryptography of one message and nothing else. Envelope and delivery carry the message, the two notices are about 6 KB; the
// envelope is hashed once more to be verified. Its signer's chain is known after the first message of a provider.
type bare struct {
	id                         identity
	message, notice, signature []byte
}

func newBare(b *testing.B, id identity, size int64) bare {
	b.Helper()
	c := bare{id: id, message: make([]byte, size), notice: make([]byte, 6<<10)}
	digest := sha256.Sum256(c.message)
	c.signature = must(id.key.Sign(rand.Reader, digest[:], crypto.SHA256))
	return c
}

func (c bare) sign(b *testing.B) time.Duration {
	b.Helper()
	start := cpuTime(b)
	for _, content := range [][]byte{c.message, c.notice, c.notice, c.message} {
		digest := sha256.Sum256(content)
		if _, err := c.id.key.Sign(rand.Reader, digest[:], crypto.SHA256); err != nil {
			b.Fatal(err)
		}
	}
	return cpuTime(b) - start
}

func (c bare) verify(b *testing.B) time.Duration {
	b.Helper()
	start := cpuTime(b)
	if digest := sha256.Sum256(c.message); !verifies(c.id.key.Public(), digest[:], c.signature) {
		b.Fatal("the signature does not hold")
	}
	return cpuTime(b) - start
}

// BenchmarkClassify judges an envelope of 10 KB.
func BenchmarkClassify(b *testing.B) {
	for name, id := range map[string]identity{"RSA-2048": rsaIdentity(), "P-256": ecdsaIdentity()} {
		b.Run(name, func(b *testing.B) {
			o := must(ReadOriginal(largeMessage(10<<10, true)))
			raw := must(id.Envelope(provider, transit(), o, received, at))
			b.SetBytes(int64(len(raw)))
			b.ReportAllocs()
			for b.Loop() {
				if j := Classify(raw, index(id), testCA().roots, at); j.Type != TypeEnvelope {
					b.Fatal(j.Errors)
				}
			}
		})
	}
}
