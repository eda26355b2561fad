package notify

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"syscall"
	"time"
)

// SecretSize is the size in bytes of a webhook's secret.
const SecretSize = 32

// secretPrefix starts a webhook's secret in the form that people and receivers
// see, by Standard Webhooks.
const secretPrefix = "whsec_"

// FormatSecret returns a webhook's secret as its receiver takes it.
func FormatSecret(secret []byte) string {
	return secretPrefix + base64.StdEncoding.EncodeToString(secret)
}

const (
	maxURL         = 2048
	webhookTimeout = 15 * time.Second
)

// ErrURL: a webhook cannot be sent there.
var ErrURL = errors.New("not an address for a webhook")

// ErrPrivate: the address is in a network that webhooks of users do not reach.
var ErrPrivate = errors.New("an address of a private network")

// Webhook posts alarms, signed as in Standard Webhooks 1.0.0. Users choose where
// to, so it reaches only addresses of the Internet, unless the operator allows
// private ones: the server stands inside of a network that its users do not.
type Webhook struct {
	Private bool        // addresses of private networks and this machine, and http on this machine
	TLS     *tls.Config // nil for the system's roots
}

// CheckURL returns an error that wraps [ErrURL] unless the address is https, or
// http on this machine where that is allowed.
func (w *Webhook) CheckURL(address string) error {
	u, err := url.Parse(address)
	switch {
	case err != nil || len(address) > maxURL || u.Hostname() == "" || u.User != nil || u.Fragment != "":
		return fmt.Errorf("%w: it looks like https://example.org/hook, without user name and fragment", ErrURL)
	case u.Scheme == "http" && w.Private && isThisMachine(u.Hostname()):
	case u.Scheme != "https":
		return fmt.Errorf("%w: it starts with https://", ErrURL)
	}
	if ip, err := netip.ParseAddr(u.Hostname()); err == nil && !w.allowed(ip) {
		return fmt.Errorf("%w: %w", ErrURL, ErrPrivate)
	}
	return nil
}

func isThisMachine(host string) bool {
	ip, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && ip.IsLoopback()
}

// Post delivers an alarm's exact JSON. Any answer of the class 2xx will do; its
// body is not read. Its error is an *[Error].
func (w *Webhook) Post(ctx context.Context, address string, secret []byte, id string, now time.Time, body []byte) error {
	if err := w.CheckURL(address); err != nil {
		return &Error{Step: "address"}
	}
	ctx, cancel := context.WithTimeout(ctx, webhookTimeout)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, address, bytes.NewReader(body))
	if err != nil {
		return &Error{Step: "address"}
	}
	stamp := strconv.FormatInt(now.Unix(), 10)
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("User-Agent", "zeropass-server")
	request.Header.Set("webhook-id", id)
	request.Header.Set("webhook-timestamp", stamp)
	request.Header.Set("webhook-signature", "v1,"+signature(secret, id, stamp, body))
	client := w.client()
	defer client.CloseIdleConnections()
	response, err := client.Do(request)
	if err != nil {
		if errors.Is(err, ErrPrivate) {
			return &Error{Step: "private address"}
		}
		return &Error{Step: "connect"}
	}
	_ = response.Body.Close() // unread
	if response.StatusCode/100 != 2 {
		return &Error{Step: "answer", Code: response.StatusCode, Gone: response.StatusCode == http.StatusGone}
	}
	return nil
}

// signature is HMAC-SHA256 over id, time and body.
func signature(secret []byte, id, stamp string, body []byte) string {
	mac := hmac.New(sha256.New, secret)
	_, _ = fmt.Fprintf(mac, "%s.%s.", id, stamp)
	_, _ = mac.Write(body)
	return base64.StdEncoding.EncodeToString(mac.Sum(nil))
}

// client makes a client for one post: there is no proxy that could reach more,
// no redirect, and the address is checked after its name is resolved, when the
// connection is made.
func (w *Webhook) client() *http.Client {
	dialer := &net.Dialer{
		Timeout: webhookTimeout,
		Control: func(_, address string, _ syscall.RawConn) error {
			to, err := netip.ParseAddrPort(address)
			if err != nil || !w.allowed(to.Addr()) {
				return ErrPrivate
			}
			return nil
		},
	}
	return &http.Client{
		Transport: &http.Transport{
			DialContext:            dialer.DialContext,
			TLSClientConfig:        w.TLS.Clone(),
			TLSHandshakeTimeout:    webhookTimeout,
			DisableKeepAlives:      true,
			MaxResponseHeaderBytes: 16 << 10,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// allowed says whether webhooks reach an address.
func (w *Webhook) allowed(ip netip.Addr) bool {
	ip = ip.Unmap()
	if ip.IsUnspecified() || ip.IsMulticast() {
		return false
	}
	if w.Private {
		return true
	}
	if !ip.IsGlobalUnicast() || ip.IsPrivate() {
		return false // loopback and link-local are not global
	}
	if ip.Is6() && !globalUnicast.Contains(ip) {
		return false // nor does a prefix contain what has a zone
	}
	for _, special := range specialNetworks {
		if special.Contains(ip) {
			return false
		}
	}
	return true
}

// globalUnicast is all of version 6 that is given out for the Internet, by the
// IANA registry of its address space.
var globalUnicast = netip.MustParsePrefix("2000::/3")

// specialNetworks are not of the Internet, or stand for addresses of version 4
// that may not be, by the IANA registries of special-purpose addresses (RFC 6890).
var specialNetworks = []netip.Prefix{
	netip.MustParsePrefix("0.0.0.0/8"),
	netip.MustParsePrefix("100.64.0.0/10"), // shared by carriers, RFC 6598
	netip.MustParsePrefix("192.0.0.0/24"),
	netip.MustParsePrefix("192.0.2.0/24"), // this and two more for examples, RFC 5737
	netip.MustParsePrefix("192.88.99.0/24"),
	netip.MustParsePrefix("198.18.0.0/15"),
	netip.MustParsePrefix("198.51.100.0/24"),
	netip.MustParsePrefix("203.0.113.0/24"),
	netip.MustParsePrefix("240.0.0.0/4"),
	netip.MustParsePrefix("2001::/23"),     // Teredo among them
	netip.MustParsePrefix("2001:db8::/32"), // for examples, RFC 3849
	netip.MustParsePrefix("2002::/16"),     // 6to4
	netip.MustParsePrefix("3fff::/20"),     // for examples, RFC 9637
}
