package server

import (
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
)

func proxies(header Header, trusted ...string) Proxies {
	p := Proxies{Header: header}
	for _, t := range trusted {
		p.Trusted = append(p.Trusted, netip.MustParsePrefix(t))
	}
	return p
}

func TestRemoteOfProxy(t *testing.T) {
	const (
		proxy = "127.0.0.1:40000"
		far   = "10.1.2.3:40000"
	)
	plain := proxies(ForwardedFor, "127.0.0.0/8", "10.0.0.0/8", "::1/128", "2001:db8:ffff::/48")
	named := Proxies{Trusted: plain.Trusted, Header: Forwarded}
	for name, c := range map[string]struct {
		p     Proxies
		peer  string
		lines []string
		want  string
	}{
		"one":                         {plain, proxy, []string{"203.0.113.7"}, "203.0.113.7:0"},
		"one with a port":             {plain, proxy, []string{"203.0.113.7:1234"}, "203.0.113.7:0"},
		"IPv6":                        {plain, proxy, []string{"2001:db8::7"}, "[2001:db8::7]:0"},
		"IPv6 in brackets":            {plain, proxy, []string{"[2001:db8::7]"}, "[2001:db8::7]:0"},
		"IPv6 with a port":            {plain, proxy, []string{"[2001:db8::7]:1234"}, "[2001:db8::7]:0"},
		"IPv4 in IPv6":                {plain, proxy, []string{"::ffff:203.0.113.7"}, "203.0.113.7:0"},
		"a zone":                      {plain, proxy, []string{"fe80::1%eth0"}, "[fe80::1]:0"},
		"the right-most":              {plain, proxy, []string{"192.0.2.1, 203.0.113.7"}, "203.0.113.7:0"},
		"garbage to the left":         {plain, proxy, []string{`", 'x, 203.0.113.7`}, "203.0.113.7:0"},
		"lines":                       {plain, proxy, []string{"192.0.2.1", "203.0.113.7"}, "203.0.113.7:0"},
		"through another proxy":       {plain, proxy, []string{"192.0.2.1, 203.0.113.7, 10.9.9.9"}, "203.0.113.7:0"},
		"through another, in lines":   {plain, proxy, []string{"203.0.113.7", "10.9.9.9"}, "203.0.113.7:0"},
		"spoofed as this machine":     {plain, proxy, []string{"127.0.0.1, 203.0.113.7"}, "203.0.113.7:0"},
		"proxies alone":               {plain, proxy, []string{"10.9.9.9, 10.8.8.8"}, "10.9.9.9:0"},
		"this machine by a proxy":     {plain, proxy, []string{"127.0.0.1"}, ""},
		"no header":                   {plain, proxy, nil, ""},
		"no header from far":          {plain, far, nil, "10.1.2.3:0"},
		"an empty header":             {plain, proxy, []string{""}, ""},
		"malformed":                   {plain, proxy, []string{"203.0.113.7, unknown"}, ""},
		"malformed from far":          {plain, far, []string{"203.0.113.7, unknown"}, "10.1.2.3:0"},
		"malformed behind a proxy":    {plain, far, []string{"nobody, 10.9.9.9"}, "10.1.2.3:0"},
		"a comma at the end":          {plain, far, []string{"203.0.113.7,"}, "10.1.2.3:0"},
		"a port that is none":         {plain, far, []string{"203.0.113.7:x"}, "10.1.2.3:0"},
		"a name":                      {plain, far, []string{"localhost"}, "10.1.2.3:0"},
		"a stranger's word":           {plain, "203.0.113.9:5", []string{"192.0.2.1"}, "203.0.113.9:5"},
		"a stranger as this machine":  {plain, "203.0.113.9:5", []string{"127.0.0.1"}, "203.0.113.9:5"},
		"a proxy over IPv6":           {plain, "[::1]:5", []string{"203.0.113.7"}, "203.0.113.7:0"},
		"a proxy's IPv4 in IPv6":      {plain, "[::ffff:10.1.2.3]:5", []string{"203.0.113.7"}, "203.0.113.7:0"},
		"a proxy in an IPv6 network":  {plain, "[2001:db8:ffff::1]:5", []string{"203.0.113.7"}, "203.0.113.7:0"},
		"no address of the peer":      {plain, "@", []string{"203.0.113.7"}, "@"},
		"Forwarded":                   {named, proxy, []string{"for=203.0.113.7"}, "203.0.113.7:0"},
		"Forwarded with all":          {named, proxy, []string{`by=10.0.0.1;For="203.0.113.7:1234"; proto=https;host="a.example"`}, "203.0.113.7:0"},
		"Forwarded, IPv6":             {named, proxy, []string{`for="[2001:db8::7]:1234"`}, "[2001:db8::7]:0"},
		"Forwarded, hidden port":      {named, proxy, []string{`for="[2001:db8::7]:_secret"`}, "[2001:db8::7]:0"},
		"Forwarded, the right-most":   {named, proxy, []string{`for=192.0.2.1, for="203.0.113.7"`}, "203.0.113.7:0"},
		"Forwarded, open quote":       {named, proxy, []string{`for="192.0.2.1, for=203.0.113.7`}, "203.0.113.7:0"},
		"Forwarded, open and quoted":  {named, proxy, []string{`for="192.0.2.1, for="203.0.113.7"`}, "203.0.113.7:0"},
		"Forwarded, chain":            {named, proxy, []string{`for=192.0.2.1`, `for=203.0.113.7, for=10.9.9.9`}, "203.0.113.7:0"},
		"Forwarded, comma in quotes":  {named, far, []string{`for=203.0.113.7;by="a,b"`}, "203.0.113.7:0"},
		"Forwarded, unknown":          {named, far, []string{"for=203.0.113.7, for=unknown"}, "10.1.2.3:0"},
		"Forwarded, hidden":           {named, far, []string{"for=_hidden"}, "10.1.2.3:0"},
		"Forwarded without for":       {named, far, []string{"for=203.0.113.7, by=10.0.0.1"}, "10.1.2.3:0"},
		"Forwarded, for twice":        {named, far, []string{"for=203.0.113.7;for=192.0.2.1"}, "10.1.2.3:0"},
		"Forwarded, IPv6 unquoted":    {named, far, []string{"for=[2001:db8::7]"}, "10.1.2.3:0"},
		"Forwarded, bare address":     {named, far, []string{"203.0.113.7"}, "10.1.2.3:0"},
		"Forwarded, quoted in a host": {named, far, []string{`for=203.0.113.7;host="a,for=192.0.2.1;x=\""`}, "10.1.2.3:0"},
		"Forwarded, twice in a host":  {named, far, []string{`for=203.0.113.7;host="a;for=192.0.2.1"`}, "10.1.2.3:0"},
		"Forwarded, list in a host":   {named, far, []string{`for=203.0.113.7;host="a, for=192.0.2.1"`}, "203.0.113.7:0"},
		"Forwarded, empty":            {named, far, []string{"for="}, "10.1.2.3:0"},
		"Forwarded by a stranger":     {named, "203.0.113.9:5", []string{"for=192.0.2.1"}, "203.0.113.9:5"},
	} {
		if got := c.p.remote(c.peer, c.lines); got != c.want {
			t.Errorf("%s: %q, not %q", name, got, c.want)
		}
	}
}

// What a handler behind the middleware sees, over HTTP.
func TestProxiesName(t *testing.T) {
	ask := func(p Proxies, headers ...string) string {
		var seen string
		s := httptest.NewServer(p.Handler(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { seen = r.RemoteAddr })))
		defer s.Close()
		defer s.Client().CloseIdleConnections()
		request, err := http.NewRequest(http.MethodGet, s.URL, nil)
		if err != nil {
			t.Fatal(err)
		}
		for _, h := range headers {
			name, value, _ := strings.Cut(h, ": ")
			request.Header.Add(name, value)
		}
		response, err := s.Client().Do(request)
		if err != nil {
			t.Fatal(err)
		}
		_ = response.Body.Close()
		return seen
	}
	if got := ask(proxies(ForwardedFor, "127.0.0.1/32"), "X-Forwarded-For: 192.0.2.1", "x-forwarded-for: 203.0.113.7", "Forwarded: for=192.0.2.2"); got != "203.0.113.7:0" {
		t.Errorf("a trusted proxy's word: %q", got)
	}
	for name, p := range map[string]Proxies{
		"none":           {},
		"no header":      proxies(NoHeader, "127.0.0.1/32"),
		"somebody else":  proxies(ForwardedFor, "10.0.0.0/8"),
		"nobody trusted": proxies(ForwardedFor),
	} {
		if got := ask(p, "X-Forwarded-For: 203.0.113.7", "Forwarded: for=203.0.113.7"); !strings.HasPrefix(got, "127.0.0.1:") {
			t.Errorf("%s: %q", name, got)
		}
	}
	if remote, local := remoteOf(ask(proxies(ForwardedFor, "127.0.0.1/32"))); local || remote.IsValid() {
		t.Errorf("a proxy here that does not say for whom it asks counts as %v, this machine: %v", remote, local)
	}
}

// Whatever clients write, it changes nothing of what the proxy has added to the right;
// and no header makes anybody this machine, whom no limit counts.
func FuzzRemote(f *testing.F) {
	for _, seed := range []string{"", "203.0.113.7", `for="[2001:db8::1]:5";by=x`, `"`, `a"b,c`, "127.0.0.1", "10.0.0.1, 127.0.0.1", "::1", "for=127.0.0.1", ",", "unknown", `\"`} {
		f.Add(seed, seed, true)
		f.Add(seed, "192.0.2.1", false)
	}
	f.Fuzz(func(t *testing.T, one, two string, joined bool) {
		for _, header := range []Header{ForwardedFor, Forwarded} {
			p := proxies(header, "127.0.0.0/8", "::1/128", "10.0.0.0/8")
			added := "203.0.113.7"
			if header == Forwarded {
				added = `for="203.0.113.7:443";proto=https`
			}
			lines := []string{one, two, added}
			if joined {
				lines = []string{one, two + ", " + added}
			}
			if got := p.remote("127.0.0.1:5", lines); got != "203.0.113.7:0" {
				t.Errorf("%s %q: %q", header, lines, got)
			}
			for _, peer := range []string{"127.0.0.1:5", "10.0.0.1:5"} {
				got := p.remote(peer, []string{one, two})
				remote, local := remoteOf(got)
				if local || remote.IsValid() != (got != "") {
					t.Errorf("%s %q of %s: %q", header, []string{one, two}, peer, got)
				}
			}
			if got := p.remote("203.0.113.9:5", []string{one, two}); got != "203.0.113.9:5" {
				t.Errorf("%s %q of a stranger: %q", header, []string{one, two}, got)
			}
		}
	})
}
