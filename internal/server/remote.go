package server

import (
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
)

// Header is where a proxy says for whom it asks.
type Header string

// The headers that there are. Without one nobody is believed.
const (
	NoHeader     Header = ""
	ForwardedFor Header = "X-Forwarded-For"
	Forwarded    Header = "Forwarded" // RFC 7239
)

// Proxies are those who ask for others, and whose word the server takes for whom.
type Proxies struct {
	Trusted []netip.Prefix
	Header  Header
}

// Handler names each request of a trusted proxy after whom it is for: limits, alarms
// and places go by that. Nobody else's headers are looked at.
//
// A request of a proxy on this machine that does not say for whom gets no address,
// rather than that of this machine, which no limit counts.
func (p Proxies) Handler(next http.Handler) http.Handler {
	if len(p.Trusted) == 0 || p.Header == NoHeader {
		return next
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if remote := p.remote(r.RemoteAddr, r.Header.Values(string(p.Header))); remote != r.RemoteAddr {
			r = r.WithContext(r.Context()) // a copy
			r.RemoteAddr = remote
		}
		next.ServeHTTP(w, r)
	})
}

// Trusts says whether an address, with or without a port, is a trusted proxy's.
func (p Proxies) Trusts(address string) bool {
	ip, ok := addressOf(address)
	return ok && p.trusts(ip)
}

func (p Proxies) trusts(ip netip.Addr) bool {
	return slices.ContainsFunc(p.Trusted, func(prefix netip.Prefix) bool { return prefix.Contains(ip) })
}

// remote returns the address of whoever a peer asks for: the peer's own unless it is a
// trusted proxy, else the last one in the header's lines that is no trusted proxy's.
// Every proxy adds to the right; what stands left of that address anybody may have
// written, and is not read.
func (p Proxies) remote(peer string, lines []string) string {
	at, ok := addressOf(peer)
	if !ok || !p.trusts(at) {
		return peer
	}
	found := at
	for node := range nodes(p.Header, lines) {
		if found, ok = addressOf(node); !ok {
			found = at
			break
		}
		if !p.trusts(found) {
			break
		}
	}
	if found.IsLoopback() {
		return ""
	}
	return net.JoinHostPort(found.String(), "0")
}

// nodes gives what the header's lines name, the last one first; an empty string for
// what does not name anybody.
func nodes(header Header, lines []string) func(yield func(string) bool) {
	return func(yield func(string) bool) {
		for _, line := range slices.Backward(lines) {
			for more := true; more; {
				var element string
				if line, element, more = lastElement(line); header == Forwarded {
					element = forNode(element)
				}
				if !yield(strings.Trim(element, " \t")) {
					return
				}
			}
		}
	}
}

// lastElement takes the last element of a list that commas separate, but for those in
// quotation marks. It reads from the right, so that nothing further left changes what
// it finds. A quotation mark that is escaped misleads it; [forNode] takes none.
func lastElement(line string) (rest, element string, more bool) {
	quoted := false
	for i := len(line) - 1; i >= 0; i-- {
		switch {
		case line[i] == '"':
			quoted = !quoted
		case line[i] == ',' && !quoted:
			return line[:i], line[i+1:], true
		}
	}
	return "", line, false
}

// forNode returns the node of the parameter "for" in one element of Forwarded, RFC
// 7239 section 4; empty if there is not exactly one. What has an escaped character may
// be a part of a host's name that a client chose, which a proxy has put in quotation
// marks.
func forNode(element string) string {
	if strings.Contains(element, `\`) {
		return ""
	}
	found := ""
	for _, pair := range strings.Split(element, ";") {
		name, value, _ := strings.Cut(strings.Trim(pair, " \t"), "=")
		if !strings.EqualFold(name, "for") {
			continue
		}
		if len(value) >= 2 && value[0] == '"' && value[len(value)-1] == '"' {
			value = value[1 : len(value)-1]
		} else if strings.ContainsAny(value, `[:`) {
			return "" // an IPv6 address or a port stands in quotation marks
		}
		if found != "" || value == "" {
			return ""
		}
		found = value
	}
	return found
}

// addressOf reads an address: 192.0.2.1, 2001:db8::1 or [2001:db8::1], with or without
// a port.
func addressOf(text string) (netip.Addr, bool) {
	host := text
	if strings.HasPrefix(text, "[") && strings.HasSuffix(text, "]") {
		host = text[1 : len(text)-1]
	} else if h, port, err := net.SplitHostPort(text); err == nil {
		if !isPort(port) {
			return netip.Addr{}, false
		}
		host = h
	}
	ip, err := netip.ParseAddr(host)
	if err != nil {
		return netip.Addr{}, false
	}
	return ip.Unmap().WithZone(""), true
}

// isPort expects digits, or the word that stands for a port in RFC 7239.
func isPort(port string) bool {
	if len(port) > 1 && port[0] == '_' {
		return true
	}
	return len(port) > 0 && len(port) <= 5 && strings.Trim(port, "0123456789") == ""
}
