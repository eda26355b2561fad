package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"log/slog"
	"net/url"
	"os"
	"time"

	"github.com/spf13/pflag"
	"golang.org/x/crypto/acme"
	"golang.org/x/crypto/acme/autocert"
)

// acmeOptions are the flags for certificates from an issuer, by ACME (RFC 8555).
type acmeOptions struct {
	domains                 []string
	email, cache, directory string
}

func (o *acmeOptions) add(flags *pflag.FlagSet) {
	flags.StringArrayVar(&o.domains, "acme-domain", nil, "name of this server to get a certificate for by ACME, which accepts the issuer's terms; give it once for each")
	flags.StringVar(&o.email, "acme-email", "", "address that the issuer may write to")
	flags.StringVar(&o.cache, "acme-cache", "", "directory for what was issued, with its private keys")
	flags.StringVar(&o.directory, "acme-directory", autocert.DefaultACMEDirectory, "the issuer's address")
}

func (o *acmeOptions) check(tlsCert string) error {
	switch u, err := url.Parse(o.directory); {
	case len(o.domains) == 0:
		return nil
	case tlsCert != "":
		return usage("Give the files, or the names to get a certificate for.", "--tls-cert and --acme-domain are two ways to a certificate")
	case o.cache == "":
		return usage("For instance --acme-cache /var/lib/zeropass-acme", "--acme-domain needs --acme-cache: issuers do not give the same certificate often")
	case err != nil || u.Scheme != "https":
		return usage("An issuer's address looks like "+autocert.DefaultACMEDirectory, "--acme-directory %s: not an address with https", o.directory)
	}
	return nil
}

// issued are certificates that an issuer gives.
type issued struct {
	domains []string
	cache   autocert.DirCache
	manager *autocert.Manager
}

func (o *acmeOptions) open() (*certificates, error) {
	if err := os.MkdirAll(o.cache, 0o700); err != nil {
		return nil, fail(exitFailed, "Name a directory that the server can write.", "--acme-cache: %v", err)
	}
	i := &issued{domains: o.domains, cache: autocert.DirCache(o.cache)}
	i.manager = &autocert.Manager{
		Prompt:     autocert.AcceptTOS,
		Cache:      i.cache,
		HostPolicy: autocert.HostWhitelist(o.domains...),
		Email:      o.email,
		Client:     &acme.Client{DirectoryURL: o.directory, UserAgent: "zeropass-server"},
	}
	return &certificates{issued: i}, nil
}

func (i *issued) config() *tls.Config {
	config := i.manager.TLSConfig() // answers the issuer's TLS-ALPN-01 challenges, RFC 8737
	config.MinVersion = tls.VersionTLS12
	return config
}

// get asks for certificates before the first device does. What fails is tried again
// when a device comes.
func (i *issued) get(log *slog.Logger) {
	for _, domain := range i.domains {
		_, err := i.manager.GetCertificate(&tls.ClientHelloInfo{ServerName: domain, CipherSuites: []uint16{tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256}})
		if err != nil {
			log.Error("the issuer gives no certificate", "domain", domain, "error", err)
			continue
		}
		log.Info("there is a certificate", "domain", domain)
	}
}

// expires returns when the first certificate does, zero if there is none yet.
func (i *issued) expires() time.Time {
	var first time.Time
	for _, domain := range i.domains {
		text, err := i.cache.Get(context.Background(), domain)
		if err != nil {
			continue
		}
		for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
			if block.Type != "CERTIFICATE" {
				continue
			}
			if leaf, err := x509.ParseCertificate(block.Bytes); err == nil && (first.IsZero() || leaf.NotAfter.Before(first)) {
				first = leaf.NotAfter
			}
			break // the leaf comes first
		}
	}
	return first
}
