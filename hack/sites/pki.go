package main

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"
)

// validity of everything issued here. A site lives as long as somebody looks at it, and nobody renews its certificates.
const validity = 10 * 365 * 24 * time.Hour

// authority issues certificates into one folder.
type authority struct {
	dir         string
	certificate *x509.Certificate
	key         crypto.Signer
}

// newAuthority makes a certificate authority and writes <name>.crt and <name>.key.
func newAuthority(dir, name string, now time.Time) (*authority, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		Subject: pkix.Name{CommonName: name}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
	}
	a := &authority{dir: dir, certificate: template, key: key}
	a.certificate, err = a.sign(name, template, key, now)
	return a, err
}

// issue writes <name>.crt and <name>.key for a subject; hosts are the names and addresses it may serve.
func (a *authority) issue(name string, subject pkix.Name, hosts []string, now time.Time) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	template := &x509.Certificate{
		Subject: subject, KeyUsage: x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth},
	}
	for _, host := range hosts {
		if address := net.ParseIP(host); address != nil {
			template.IPAddresses = append(template.IPAddresses, address)
		} else {
			template.DNSNames = append(template.DNSNames, host)
		}
	}
	_, err = a.sign(name, template, key, now)
	return err
}

func (a *authority) sign(name string, template *x509.Certificate, key *ecdsa.PrivateKey, now time.Time) (*x509.Certificate, error) {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		return nil, err
	}
	// An hour back, because the clocks of a virtual machine and its host differ.
	template.SerialNumber, template.NotBefore, template.NotAfter = serial, now.Add(-time.Hour), now.Add(validity)
	der, err := x509.CreateCertificate(rand.Reader, template, a.certificate, key.Public(), a.key)
	if err != nil {
		return nil, fmt.Errorf("signing the certificate of %s: %w", name, err)
	}
	if err := writeKey(filepath.Join(a.dir, name+".key"), key); err != nil {
		return nil, err
	}
	if err := writeFile(filepath.Join(a.dir, name+".crt"), pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o644); err != nil {
		return nil, err
	}
	return x509.ParseCertificate(der)
}

func writeKey(path string, key *ecdsa.PrivateKey) error {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	return writeFile(path, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), 0o600)
}

// issueSite makes every key and certificate of a site in dir, once. Three authorities, as kubeadm has: one for the cluster, one for
// the aggregation layer's proxy and one for etcd, so that no cluster certificate opens the database.
func issueSite(dir string, node string, addresses siteAddresses, now time.Time) error {
	done := filepath.Join(dir, "complete")
	if exists(done) {
		return nil
	}
	cluster, err := newAuthority(dir, "ca", now)
	if err != nil {
		return err
	}
	proxy, err := newAuthority(dir, "front-proxy-ca", now)
	if err != nil {
		return err
	}
	etcd, err := newAuthority(dir, "etcd-ca", now)
	if err != nil {
		return err
	}
	apiserverHosts := []string{
		addresses.node.String(), addresses.kubernetesService().String(), "127.0.0.1", "localhost",
		"kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc.cluster.local",
	}
	for _, c := range []struct {
		by         *authority
		name       string
		commonName string
		group      string
		hosts      []string
	}{
		{cluster, "apiserver", "kube-apiserver", "", apiserverHosts},
		{cluster, "apiserver-kubelet", "kube-apiserver-kubelet-client", "system:masters", nil},
		{cluster, "admin", "site-admin", "system:masters", nil},
		{cluster, "controller-manager", "system:kube-controller-manager", "", []string{"127.0.0.1"}},
		{cluster, "scheduler", "system:kube-scheduler", "", []string{"127.0.0.1"}},
		{cluster, "kubelet", "system:node:" + node, "system:nodes", nil},
		{cluster, "kubelet-server", "system:node:" + node, "system:nodes", []string{addresses.node.String(), node}},
		{cluster, "kube-proxy", "system:kube-proxy", "", nil},
		{cluster, "coredns", "system:coredns", "", nil},
		{proxy, "front-proxy", "front-proxy", "", nil},
		{etcd, "etcd", "etcd", "", []string{"127.0.0.1", "localhost"}},
		{etcd, "etcd-client", "kube-apiserver", "", nil},
	} {
		subject := pkix.Name{CommonName: c.commonName}
		if c.group != "" {
			subject.Organization = []string{c.group}
		}
		if err := c.by.issue(c.name, subject, c.hosts, now); err != nil {
			return err
		}
	}
	if err := issueTokenKey(dir); err != nil {
		return err
	}
	return os.WriteFile(done, nil, 0o644)
}

// issueTokenKey makes the key that signs ServiceAccount tokens: service-accounts.key, and its public half service-accounts.pub.
func issueTokenKey(dir string) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	if err := writeKey(filepath.Join(dir, "service-accounts.key"), key); err != nil {
		return err
	}
	public, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		return err
	}
	return writeFile(filepath.Join(dir, "service-accounts.pub"), pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: public}), 0o644)
}
