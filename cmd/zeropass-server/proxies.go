package main

import (
	"log/slog"
	"net/netip"

	"github.com/spf13/pflag"

	"zeropass.dev/zeropass/internal/server"
)

// proxyOptions are the flags that say which proxies ask for devices, and how they say
// for whom.
type proxyOptions struct {
	trusted []string
	header  proxyHeader
}

func (o *proxyOptions) add(flags *pflag.FlagSet) {
	flags.StringArrayVar(&o.trusted, "trusted-proxy", nil, "address or network of a proxy, 127.0.0.1 or 10.0.0.0/8 for one, that says for whom it asks; give it once for each")
	flags.Var(&o.header, "trusted-proxy-header", "where trusted proxies say for whom they ask: x-forwarded-for, forwarded (RFC 7239), or none; they must add to it, and to no other")
}

// proxies returns whose word is taken.
func (o *proxyOptions) proxies() (server.Proxies, error) {
	p := server.Proxies{Header: o.header.value}
	if (len(o.trusted) > 0) != (p.Header != server.NoHeader) {
		return p, usage("For instance --trusted-proxy 127.0.0.1 --trusted-proxy-header x-forwarded-for", "--trusted-proxy and --trusted-proxy-header belong together")
	}
	for _, text := range o.trusted {
		prefix, err := netip.ParsePrefix(text)
		if address, bare := netip.ParseAddr(text); bare == nil && address.Zone() == "" {
			prefix, err = address.Prefix(address.BitLen())
		}
		if err != nil {
			return p, usage("An address looks like 127.0.0.1 or ::1, a network like 10.0.0.0/8.", "--trusted-proxy %s: not an address or a network", text)
		}
		if prefix.Bits() == 0 {
			return p, usage("Name the proxies' own addresses.", "--trusted-proxy %s: everybody could say for whom he asks", text)
		}
		p.Trusted = append(p.Trusted, prefix.Masked())
	}
	return p, nil
}

// warn says what a server does not know that only a proxy reaches, or that only this
// machine does.
func (o *proxyOptions) warn(log *slog.Logger, public bool) {
	if !public && len(o.trusted) == 0 {
		log.Warn("no proxy is trusted: requests that a proxy on this machine passes on are limited by nothing and have no place of origin; see the setting trusted-proxy")
	}
}

// proxyHeader is a flag of three words.
type proxyHeader struct{ value server.Header }

var proxyHeaders = []struct {
	word  string
	value server.Header
}{{"none", server.NoHeader}, {"x-forwarded-for", server.ForwardedFor}, {"forwarded", server.Forwarded}}

func (h *proxyHeader) String() string {
	for _, known := range proxyHeaders {
		if known.value == h.value {
			return known.word
		}
	}
	return ""
}
func (h *proxyHeader) Type() string { return "none|x-forwarded-for|forwarded" }
func (h *proxyHeader) Set(word string) error {
	for _, known := range proxyHeaders {
		if known.word == word {
			h.value = known.value
			return nil
		}
	}
	return errValue
}
