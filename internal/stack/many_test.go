package stack

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"net"
	"testing"
	"time"

	"github.com/emersion/go-imap/v2/imapclient"
	"golang.org/x/sync/errgroup"

	"github.com/pec-operator/pec-operator/internal/admin"
)

// A hundred holders whose mail programs keep three sessions open each, and one more who logs in. Dovecot has as few descriptors as
// a container may have.
func TestManySessionsAtOnce(t *testing.T) {
	inNamespaces(t, func(t *testing.T, n *node) {
		p := newPod(t, n)
		c := p.container("dovecot")
		c.Command = append([]string{"/usr/bin/prlimit", "--nofile=1024", "--"}, c.Command...)
		dovecot := p.start(p.spec, c)
		defer dovecot.stop()
		n.must(dovecot.listens(c))
		const holders, each = 100, 3
		for i := range holders {
			p.mailbox(fmt.Sprintf("holder%d", i), admin.AccessFull)
		}
		// Only after the first login does Dovecot know how many it may check at once.
		if _, err := loginIMAP(t, "full@"+domain, password); err != nil {
			t.Fatal(err)
		}
		group, ctx := errgroup.WithContext(t.Context())
		group.SetLimit(8)
		for i := range holders * each {
			group.Go(func() error {
				if ctx.Err() != nil {
					return ctx.Err() // another one failed
				}
				conn, err := connected(t, portIMAPS, true)
				if err != nil {
					return fmt.Errorf("connection %d: %w", i, err)
				}
				client := imapclient.New(conn, nil)
				if err := client.Login(fmt.Sprintf("holder%d@%s", i%holders, domain), password).Wait(); err != nil {
					return fmt.Errorf("session %d: %w", i, err)
				}
				_, err = client.Select("INBOX", nil).Wait()
				return err
			})
		}
		n.must(group.Wait())
		if _, err := loginIMAP(t, "full@"+domain, password); err != nil {
			t.Errorf("one more: %v", err)
		}
		for port, overTLS := range map[int]bool{portPOP3S: true, portSieve: false} {
			for i := range 110 { // a hundred is Dovecot's own limit
				conn, err := connected(t, port, overTLS)
				if err == nil {
					_, err = bufio.NewReader(conn).ReadString('\n')
				}
				if err != nil {
					t.Fatalf("connection %d to port %d: %v", i, port, err)
				}
			}
		}
	})
}

// connected is a connection that stays open, whose TLS is agreed on.
func connected(t *testing.T, port int, overTLS bool) (net.Conn, error) {
	conn, err := net.Dial("tcp", loopback(port))
	if err != nil {
		return nil, err
	}
	t.Cleanup(func() { _ = conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(patience))
	if !overTLS {
		return conn, nil
	}
	secured := tls.Client(conn, unverified())
	return secured, secured.Handshake()
}
