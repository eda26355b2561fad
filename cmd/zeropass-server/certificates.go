package main

import (
	"context"
	"crypto/tls"
	"log/slog"
	"os"
	"os/signal"
	"sync/atomic"
	"syscall"
	"time"
)

// certificatePause is how often the files are looked at.
const certificatePause = time.Minute

// certificates are what the server is known by over TLS: from files, or from an
// issuer.
type certificates struct {
	issued    *issued // nil where they come from files
	cert, key string  // files
	current   atomic.Pointer[tls.Certificate]
	stamp     string // of the files, when they were read
}

// openCertificates reads the files.
func openCertificates(cert, key string) (*certificates, error) {
	c := &certificates{cert: cert, key: key}
	if err := c.load(); err != nil {
		return nil, fail(exitFailed, "Both are PEM files, the certificate's chain first to last.", "--tls-cert %s, --tls-key %s: %v", cert, key, err)
	}
	return c, nil
}

func (c *certificates) load() error {
	stamp := c.look()
	pair, err := tls.LoadX509KeyPair(c.cert, c.key)
	if err != nil {
		return err
	}
	c.current.Store(&pair)
	c.stamp = stamp
	return nil
}

// look returns what changes when one of the files does.
func (c *certificates) look() string {
	stamp := ""
	for _, file := range []string{c.cert, c.key} {
		if info, err := os.Stat(file); err == nil {
			stamp += info.ModTime().String() + " "
		}
	}
	return stamp
}

func (c *certificates) config() *tls.Config {
	if c.issued != nil {
		return c.issued.config()
	}
	return &tls.Config{
		MinVersion:     tls.VersionTLS12,
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return c.current.Load(), nil },
	}
}

// expires returns when the certificate does.
func (c *certificates) expires() time.Time {
	if c.issued != nil {
		return c.issued.expires()
	}
	return c.current.Load().Leaf.NotAfter
}

// watch reads the files again when they have changed, and on SIGHUP, until ctx
// ends. What does not fit is logged, and the certificate before it stays.
func (c *certificates) watch(ctx context.Context, log *slog.Logger) {
	if c.issued != nil {
		// Asking an issuer takes as long as it does, and a stop does not wait for it.
		go c.issued.get(log)
		return
	}
	hangup := make(chan os.Signal, 1)
	signal.Notify(hangup, syscall.SIGHUP)
	defer signal.Stop(hangup)
	again := time.NewTicker(certificatePause)
	defer again.Stop()
	for {
		asked := false
		select {
		case <-ctx.Done():
			return
		case <-again.C:
		case <-hangup:
			asked = true
		}
		if !asked && c.look() == c.stamp {
			continue
		}
		if err := c.load(); err != nil {
			log.Error("the certificate could not be read again; the one before it is used", "cert", c.cert, "error", err)
			continue
		}
		log.Info("the certificate was read again", "expires", c.expires())
	}
}
