package pecdomain

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"

	"github.com/pec-operator/pec-operator/api/v1alpha1"
	"github.com/pec-operator/pec-operator/internal/engines"
	"github.com/pec-operator/pec-operator/internal/pki"
	"github.com/pec-operator/pec-operator/internal/reconcile"
	"github.com/pec-operator/pec-operator/internal/stack"
)

// readSecrets judges what a person must provide: the two certificates and the providers' index. What is wrong with one is said
// and does not end the pass, so that a person sees everything that is missing at once.
func readSecrets(ctx context.Context, s *scope) (reconcile.Result, error) {
	m := s.domain.Spec.Provider.Managed
	judgeSigning := judgeCertificate
	if m.Signing.PKCS11 != nil { // its key is in the HSM; the engine says whether it answers
		judgeSigning = func(cert, _ []byte, now time.Time) (reason, message string) { return judgeLeaf(cert, now) }
	}
	for _, c := range []struct {
		condition, secret, use string
		judge                  func(cert, key []byte, now time.Time) (reason, message string)
		issue                  issue
	}{
		{v1alpha1.ConditionCertificateValid, stack.TLSSecret(s.domain), "mail clients and other mail servers are shown it", judgeCertificate, s.issue},
		{v1alpha1.ConditionSigningReady, m.Signing.SecretName, "it signs every notice and envelope", judgeSigning, issue{}},
	} {
		secret := &corev1.Secret{}
		err := s.Live.Get(ctx, types.NamespacedName{Namespace: s.domain.Namespace, Name: c.secret}, secret)
		if err != nil && !apierrors.IsNotFound(err) {
			return reconcile.Result{}, fmt.Errorf("reading Secret %s/%s: %w", s.domain.Namespace, c.secret, err)
		}
		reason, message := c.judge(secret.Data[corev1.TLSCertKey], secret.Data[corev1.TLSPrivateKeyKey], s.Now)
		usable, reason, message := c.issue.verdict(reason, fmt.Sprintf("Secret %s: %s (%s)", c.secret, message, c.use), c.use)
		s.set(c.condition, usable, reason, message)
	}
	return reconcile.Result{RequeueAfter: later}, readIndex(ctx, s, m.ProvidersIndex)
}

func readIndex(ctx context.Context, s *scope, source v1alpha1.ProvidersIndex) error {
	name, keys := source.ConfigMapRef.Name, []string{stack.KeyIndex, stack.KeyRoots}
	if source.URL != "" {
		keys = keys[1:] // the index is downloaded; what the engine says of it comes later in the pass
	}
	index := &corev1.ConfigMap{}
	err := s.Live.Get(ctx, types.NamespacedName{Namespace: s.domain.Namespace, Name: name}, index)
	if err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("reading ConfigMap %s/%s: %w", s.domain.Namespace, name, err)
	}
	for _, key := range keys {
		if index.Data[key] == "" && len(index.BinaryData[key]) == 0 {
			s.False(v1alpha1.ConditionIndexFresh, v1alpha1.ReasonIndexMissing, fmt.Sprintf(
				"ConfigMap %s has no key %s; create it with the providers' index (%s) and the roots of their certificates (%s)", name, key, stack.KeyIndex, stack.KeyRoots))
			return nil
		}
	}
	if source.URL == "" {
		s.True(v1alpha1.ConditionIndexFresh, v1alpha1.ReasonIndexPresent, "the providers' index is there")
	}
	return nil
}

// judgeCertificate says in one reason and one sentence what is wrong with a certificate and key, and what to do. Pure.
func judgeCertificate(cert, key []byte, now time.Time) (reason, message string) {
	switch {
	case len(cert) == 0:
		return v1alpha1.ReasonSecretMissing, "it has no key tls.crt; create it with the PEM certificate, leaf first"
	case len(key) == 0:
		return v1alpha1.ReasonSecretMissing, "it has no key tls.key; add the PEM private key of the certificate"
	}
	if _, err := firstCertificate(cert); err != nil {
		return judgeLeaf(cert, now)
	}
	if block, _ := pem.Decode(key); block == nil {
		return v1alpha1.ReasonCertificateUnreadable, "tls.key is not a PEM private key; replace it"
	}
	if _, err := tls.X509KeyPair(cert, key); err != nil {
		return v1alpha1.ReasonKeyMismatch, "tls.key is not the private key of the first certificate in tls.crt; put the pair in together"
	}
	return judgeLeaf(cert, now)
}

// judgeLeaf is judgeCertificate for a certificate whose key is elsewhere.
func judgeLeaf(cert []byte, now time.Time) (reason, message string) {
	if len(cert) == 0 {
		return v1alpha1.ReasonSecretMissing, "it has no key tls.crt; create it with the PEM certificate, leaf first"
	}
	leaf, err := firstCertificate(cert)
	if err != nil {
		return v1alpha1.ReasonCertificateUnreadable, "tls.crt does not begin with a PEM certificate; replace it"
	}
	switch {
	case now.After(leaf.NotAfter):
		return v1alpha1.ReasonCertificateExpired, "the certificate ended on " + leaf.NotAfter.UTC().Format(time.DateOnly) + "; put in a renewed one"
	case now.Before(leaf.NotBefore):
		return v1alpha1.ReasonCertificateExpired, "the certificate begins on " + leaf.NotBefore.UTC().Format(time.DateOnly) + "; put in one that is valid now"
	}
	return v1alpha1.ReasonCertificateUsable, ""
}

func firstCertificate(raw []byte) (*x509.Certificate, error) {
	block, _ := pem.Decode(raw)
	if block == nil {
		return nil, fmt.Errorf("no PEM block")
	}
	return x509.ParseCertificate(block.Bytes)
}

// keepEngineSecret makes the engine's own certificate and the pod's inner passwords once, and issues the certificate again
// before it ends. Passwords that are there stay: programs that run hold them.
func keepEngineSecret(ctx context.Context, s *scope) (reconcile.Result, error) {
	names := stack.NamesFor(s.domain.Name)
	key := types.NamespacedName{Namespace: s.domain.Namespace, Name: names.EngineSecret}
	have := &corev1.Secret{}
	if err := s.Live.Get(ctx, key, have); err != nil && !apierrors.IsNotFound(err) {
		return reconcile.Result{}, fmt.Errorf("reading Secret %s: %w", key, err)
	}
	leaf := engines.Leaf(s.Stack.Site, engines.First(s.host), linkHost(s.domain, s.Stack.Site)...)
	data, changed, err := engineSecret(have.Data, s.Authority, leaf, s.Now)
	if err != nil || !changed {
		return reconcile.Result{}, err
	}
	secret := &corev1.Secret{
		TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "Secret"},
		ObjectMeta: metav1.ObjectMeta{Namespace: key.Namespace, Name: key.Name, Annotations: map[string]string{stack.DomainAnnotation: s.domain.Name}},
		Type:       corev1.SecretTypeOpaque,
		Data:       data,
	}
	s.own(secret)
	content, err := runtime.DefaultUnstructuredConverter.ToUnstructured(secret)
	if err != nil {
		return reconcile.Result{}, fmt.Errorf("encoding Secret %s: %w", key, err)
	}
	unstructured.RemoveNestedField(content, "metadata", "creationTimestamp")
	return reconcile.Result{}, reconcile.Write(ctx, s.Client, &unstructured.Unstructured{Object: content})
}

// engineSecret is what the engine's Secret should hold, given what it holds.
func engineSecret(have map[string][]byte, authority *pki.Authority, leaf pki.Leaf, now time.Time) (data map[string][]byte, changed bool, err error) {
	pair := pki.Pair{Cert: have[corev1.TLSCertKey], Key: have[corev1.TLSPrivateKeyKey]}
	password, apiKey := have[stack.KeyDoveadmPassword], have[stack.KeyDoveadmAPIKey]
	if len(password) == 0 || len(apiKey) == 0 || len(have[stack.KeyDoveadmConf]) == 0 {
		password, apiKey, changed = randomToken(), randomToken(), true
	}
	if authority.Stale(pair, leaf, now) != "" || string(have[stack.KeyAuthority]) != string(authority.PEM) {
		if pair, err = authority.Issue(leaf, now); err != nil {
			return nil, false, err
		}
		changed = true
	}
	return map[string][]byte{
		corev1.TLSCertKey:        pair.Cert,
		corev1.TLSPrivateKeyKey:  pair.Key,
		stack.KeyAuthority:       authority.PEM,
		stack.KeyDoveadmPassword: password,
		stack.KeyDoveadmAPIKey:   apiKey,
		stack.KeyDoveadmConf:     fmt.Appendf(nil, "doveadm_password = %s\ndoveadm_api_key = %s\n", password, apiKey),
	}, changed, nil
}

// randomToken is 256 bits in hex, so that no program's configuration syntax can misread it.
func randomToken() []byte {
	raw := make([]byte, 32)
	rand.Read(raw) //nolint:errcheck // crypto/rand.Read never fails: it ends the program instead
	return []byte(hex.EncodeToString(raw))
}

// linkHost is the host name of the site's peer link, by which the other site's engine dials this one.
func linkHost(d *v1alpha1.PECDomain, site string) []string {
	host, _, found := strings.Cut(d.Spec.Provider.Managed.PeerLink(site), ":")
	if !found {
		return nil
	}
	return []string{host}
}
