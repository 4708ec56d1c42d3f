package manager

import (
	"context"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"
	logf "sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/pec-operator/pec-operator/internal/pki"
)

const (
	// authoritySecret holds the site's certificate authority, in the operator's namespace. Losing it means new certificates for
	// every engine of the site, nothing worse.
	authoritySecret = "pec-site-ca"
	authorityCert   = "ca.crt"
	authorityKey    = "ca.key"
	// startTimeout is how long a starting operator waits for its API server before it ends and is started again.
	startTimeout = time.Minute
)

// siteAuthority reads the site's certificate authority, or makes it. Of two operators that start at once one creates the
// Secret, and both read it.
func siteAuthority(ctx context.Context, config *rest.Config, o Options) (*pki.Authority, error) {
	c, err := client.New(config, client.Options{Scheme: Scheme()})
	if err != nil {
		return nil, fmt.Errorf("making a client of this cluster: %w", err)
	}
	var authority *pki.Authority
	var last error
	err = wait.PollUntilContextTimeout(ctx, time.Second, startTimeout, true, func(ctx context.Context) (bool, error) {
		if authority, last = getOrCreateAuthority(ctx, c, o); last != nil {
			logf.FromContext(ctx).Info("waiting for the site's certificate authority", "error", last.Error())
		}
		return last == nil, nil
	})
	if err != nil {
		return nil, fmt.Errorf("%w (last: %w)", err, last)
	}
	return authority, nil
}

func getOrCreateAuthority(ctx context.Context, c client.Client, o Options) (*pki.Authority, error) {
	key := client.ObjectKey{Namespace: o.Namespace, Name: authoritySecret}
	secret := &corev1.Secret{}
	err := c.Get(ctx, key, secret)
	if apierrors.IsNotFound(err) {
		pair, pairErr := pki.NewAuthority(o.Site, o.Now())
		if pairErr != nil {
			return nil, pairErr
		}
		secret = &corev1.Secret{
			ObjectMeta: metav1.ObjectMeta{Namespace: key.Namespace, Name: key.Name},
			Data:       map[string][]byte{authorityCert: pair.Cert, authorityKey: pair.Key},
		}
		err = c.Create(ctx, secret)
		if apierrors.IsAlreadyExists(err) {
			err = c.Get(ctx, key, secret)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("keeping Secret %s: %w", key, err)
	}
	return pki.LoadAuthority(pki.Pair{Cert: secret.Data[authorityCert], Key: secret.Data[authorityKey]})
}
