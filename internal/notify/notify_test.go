package notify

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"io"
	"mime"
	"mime/quotedprintable"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"zeropass.dev/zeropass/internal/notify/notifytest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func anAlarm(kind Kind) *Alarm {
	a := &Alarm{ID: "msg_0123", Kind: kind, Time: time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC), Data: Data{
		Account: strings.Repeat("ab", 32), Name: "Ada Lövelace", Device: 2, Subject: 3, Count: 17, Address: "203.0.113.7", Country: "DE",
	}}
	a.JSON()
	return a
}

// Every kind has words, and what a webhook gets reads back.
func TestAlarms(t *testing.T) {
	kinds := 0
	for kind, said := range words {
		kinds++
		a := anAlarm(kind)
		b := a.JSON()
		read, err := ParseAlarm(a.ID, b)
		if err != nil || *read != *a {
			t.Errorf("%s: read back as %+v, %v", kind, read, err)
		}
		subject, body := a.Text()
		if strings.ContainsAny(subject, "{}\r\n") || strings.ContainsAny(body, "{}") || !strings.Contains(body, said.do) {
			t.Errorf("%s: %q, %q", kind, subject, body)
		}
		for _, want := range []string{"Ada Lövelace", "abababababababab)", "2026-11-22 12:00:00 UTC", "Device:   2", "203.0.113.7 (DE)"} {
			if !strings.Contains(body, want) {
				t.Errorf("%s: the mail lacks %q:\n%s", kind, want, body)
			}
		}
	}
	if kinds != 22 {
		t.Errorf("%d kinds", kinds)
	}
	var shown map[string]any
	if err := json.Unmarshal(anAlarm(RevealBulk).JSON(), &shown); err != nil || shown["type"] != "reveal.bulk" || shown["timestamp"] != "2026-11-22T12:00:00Z" {
		t.Errorf("%v, %v", shown, err)
	}
	if text := shown["data"].(map[string]any)["text"]; text != "device 2 revealed 17 secrets at once." {
		t.Errorf("text %q", text)
	}
}

// An alarm that stands for many says so, to people and to programs.
func TestManyAlarmsInOne(t *testing.T) {
	a := anAlarm(RecoveryRequested)
	a.Data.Times = 23
	b := a.JSON()
	subject, body := a.Text()
	if !strings.HasSuffix(subject, "asked to recover the account, 23 times") || !strings.Contains(body, "This happened 23 times in a short time") {
		t.Errorf("%q, %q", subject, body)
	}
	if read, err := ParseAlarm(a.ID, b); err != nil || *read != *a || !strings.Contains(string(b), `"times":23`) {
		t.Errorf("%s, %v", b, err)
	}
}

func TestWhatToDoAboutADeviceOutside(t *testing.T) {
	a := anAlarm(OriginNew)
	a.Data.Device = 0
	a.JSON()
	if _, body := a.Text(); !strings.Contains(body, "zeropass veto") || strings.Contains(body, "lock that device") {
		t.Errorf("%s", body)
	}
}

func TestMail(t *testing.T) {
	for _, way := range []string{StartTLS, ImplicitTLS} {
		t.Run(way, func(t *testing.T) {
			box := notifytest.NewMailbox(t, way == ImplicitTLS)
			m := &Mail{Server: box.Address, TLS: way, From: "alarms@zeropass.test", User: notifytest.User, Password: notifytest.Password, Config: &tls.Config{RootCAs: box.Roots}}
			if err := m.Check(); err != nil {
				t.Fatal(err)
			}
			a := anAlarm(DeviceAdded)
			if err := m.Send(t.Context(), "ada@example.test", a); err != nil {
				t.Fatal(err)
			}
			letters := box.Letters()
			if len(letters) != 1 {
				t.Fatalf("%d mails came", len(letters))
			}
			l := letters[0]
			if !l.TLS || l.User != notifytest.User || l.From != "alarms@zeropass.test" || l.To != "ada@example.test" {
				t.Errorf("envelope: TLS %v, user %q, from %q, to %q", l.TLS, l.User, l.From, l.To)
			}
			wantSubject, wantBody := a.Text()
			subject, err := new(mime.WordDecoder).DecodeHeader(l.Message.Header.Get("Subject"))
			for _, name := range []string{"User-Agent", "X-Mailer"} { // not everybody's to know
				if got := l.Message.Header.Get(name); got != "" {
					t.Errorf("%s: %s", name, got)
				}
			}
			if err != nil || subject != wantSubject {
				t.Errorf("subject %q, want %q", subject, wantSubject)
			}
			body, err := io.ReadAll(quotedprintable.NewReader(strings.NewReader(l.Body)))
			if err != nil || strings.TrimSpace(strings.ReplaceAll(string(body), "\r\n", "\n")) != strings.TrimSpace(wantBody) {
				t.Errorf("body %q, want %q (%v)", body, wantBody, err)
			}
			for name, want := range map[string]string{"Message-ID": "<msg_0123@zeropass.test>", "Auto-Submitted": "auto-generated", "Content-Type": "text/plain; charset=UTF-8"} {
				if got := l.Message.Header.Get(name); got != want {
					t.Errorf("%s: %q, want %q", name, got, want)
				}
			}
		})
	}
}

// What fails says so without addresses and without the other side's words.
func TestMailFails(t *testing.T) {
	box := notifytest.NewMailbox(t, false)
	good := Mail{Server: box.Address, TLS: StartTLS, From: "alarms@zeropass.test", User: notifytest.User, Password: notifytest.Password, Config: &tls.Config{RootCAs: box.Roots}}
	box.Refuse(451)
	untrusted, password, way := good, good, good
	untrusted.Config = nil
	password.Password = "another"
	way.TLS = ImplicitTLS
	for name, m := range map[string]Mail{"refused": good, "not trusted": untrusted, "wrong password": password, "no TLS at once": way} {
		err := m.Send(t.Context(), "ada@example.test", anAlarm(DeviceAdded))
		var failed *Error
		if !errors.As(err, &failed) || strings.Contains(err.Error(), "ada") || strings.Contains(err.Error(), "another") {
			t.Errorf("%s: %v", name, err)
		}
		if name == "refused" && failed.Code != 451 {
			t.Errorf("refused: code %d", failed.Code)
		}
	}
	if n := len(box.Letters()); n != 0 {
		t.Errorf("%d mails came", n)
	}
	for name, m := range map[string]Mail{
		"no port":           {Server: "smtp.test", TLS: StartTLS, From: "a@b.test"},
		"no way":            {Server: "smtp.test:25", From: "a@b.test"},
		"clear":             {Server: "smtp.test:25", TLS: NoTLS, From: "a@b.test"},
		"from":              {Server: "smtp.test:25", TLS: StartTLS, From: "nobody"},
		"user, no password": {Server: "smtp.test:25", TLS: StartTLS, From: "a@b.test", User: "u"},
	} {
		if err := m.Check(); !errors.Is(err, ErrMail) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, address := range []string{"", "ada", "Ada <ada@b.test>", "ada@b.test\r\nBcc: x@y.test", "a@b.test, c@d.test", strings.Repeat("a", 250) + "@b.test"} {
		if err := CheckMail(address); !errors.Is(err, ErrMail) {
			t.Errorf("%q: %v", address, err)
		}
	}
}

func TestWebhook(t *testing.T) {
	r := notifytest.NewReceiver(t, true)
	w := &Webhook{Private: true, TLS: r.TLS}
	secret := bytes.Repeat([]byte{7}, SecretSize)
	body := anAlarm(RevealBulk).JSON()
	now := time.Unix(1_800_000_000, 0)
	post := func() error { return w.Post(t.Context(), r.URL, secret, "msg_1", now, body) }
	if err := post(); err != nil {
		t.Fatal(err)
	}
	got := r.Posts()[0]
	if string(got.Body) != string(body) || got.Header.Get("Content-Type") != "application/json" {
		t.Errorf("got %q as %q", got.Body, got.Header.Get("Content-Type"))
	}
	if err := notifytest.VerifyWebhook(FormatSecret(secret), got, now); err != nil {
		t.Error(err)
	}
	other := bytes.Clone(secret)
	other[0]++
	if notifytest.VerifyWebhook(FormatSecret(other), got, now) == nil {
		t.Error("another secret verifies")
	}
	for _, status := range []int{301, 302, 307, 400, 404, 410, 500, 503} {
		r.Answer(status)
		before := len(r.Posts())
		var failed *Error
		if err := post(); !errors.As(err, &failed) || failed.Code != status || failed.Gone != (status == 410) {
			t.Errorf("status %d gives %v", status, err)
		}
		if n := len(r.Posts()) - before; n != 1 {
			t.Errorf("status %d: %d requests", status, n)
		}
	}
	// Nothing of it is reached where private addresses are not allowed, by any
	// name.
	r.Answer(204)
	before := len(r.Posts())
	port := r.URL[strings.LastIndex(r.URL, ":"):]
	closed := &Webhook{TLS: r.TLS}
	for _, host := range []string{"127.0.0.1", "localhost", "[::ffff:127.0.0.1]", "[::1]", "0.0.0.0"} {
		if err := closed.Post(t.Context(), "https://"+host+port, secret, "msg_1", now, body); err == nil {
			t.Errorf("%s was reached", host)
		}
	}
	if n := len(r.Posts()) - before; n != 0 {
		t.Errorf("%d requests came through", n)
	}
}

// The address is judged when the connection is made, not when its name is read.
func TestWebhookDial(t *testing.T) {
	r := notifytest.NewReceiver(t, false)
	w := &Webhook{}
	_, port, _ := net.SplitHostPort(strings.TrimSuffix(strings.TrimPrefix(r.URL, "http://"), "/hook"))
	response, err := w.client().Get("http://localhost:" + port)
	if err == nil {
		_ = response.Body.Close()
	}
	if !errors.Is(err, ErrPrivate) {
		t.Errorf("got %v", err)
	}
}

func TestAllowed(t *testing.T) {
	for address, want := range map[string]bool{
		"93.184.216.34": true, "2606:2800:220:1::1": true, "::ffff:93.184.216.34": true,
		"10.0.0.1": false, "172.16.5.4": false, "192.168.1.1": false, "127.0.0.1": false, "127.8.8.8": false, "169.254.169.254": false,
		"0.0.0.0": false, "0.1.2.3": false, "100.64.0.1": false, "192.0.0.8": false, "198.18.0.1": false, "224.0.0.1": false, "240.0.0.1": false, "255.255.255.255": false,
		"::": false, "::1": false, "fe80::1": false, "fd00::1": false, "fec0::1": false, "ff02::1": false, "::ffff:10.0.0.1": false, "::ffff:169.254.169.254": false,
		"64:ff9b::a00:1": false, "2002:a00:1::1": false, "2001:0:a00:1::1": false, "::a00:1": false,
		"::ffff:0:10.0.0.1": false, "5f00::1": false, "3fff::1": false, "2001:db8::1": false, "192.0.2.1": false, "198.51.100.1": false, "203.0.113.1": false,
		// A zone names an interface of this machine, and hides an address from lists.
		"2606:2800:220:1::1%lo": false, "64:ff9b::a00:1%lo": false, "2002:a00:1::1%1": false, "fd00::1%lo": false,
	} {
		if got := (&Webhook{}).allowed(netip.MustParseAddr(address)); got != want {
			t.Errorf("%s: %v", address, got)
		}
	}
	for _, address := range []string{"224.0.0.1", "0.0.0.0", "::"} {
		if (&Webhook{Private: true}).allowed(netip.MustParseAddr(address)) {
			t.Errorf("%s is allowed", address)
		}
	}
}

func TestCheckURL(t *testing.T) {
	public, private := &Webhook{}, &Webhook{Private: true}
	for address, want := range map[string][2]bool{ // for public, private
		"https://example.org/hook?token=1":             {true, true},
		"https://10.0.0.1/":                            {false, true},
		"http://127.0.0.1:8080/":                       {false, true},
		"http://localhost/":                            {false, true},
		"http://example.org/":                          {false, false},
		"http://10.0.0.1/":                             {false, false},
		"https://user:pw@example.org/":                 {false, false},
		"https://example.org/#a":                       {false, false},
		"https:///":                                    {false, false},
		"https://[64:ff9b::a00:1%25lo]/":               {false, true},
		"https://[2606:2800:220:1::1]:8443":            {true, true},
		"https://example.org/a\r\nb":                   {false, false},
		"ftp://example.org/":                           {false, false},
		"file:///etc/passwd":                           {false, false},
		"":                                             {false, false},
		"https://e.org/" + strings.Repeat("a", maxURL): {false, false},
	} {
		if got := public.CheckURL(address); (got == nil) != want[0] {
			t.Errorf("public: %.60q: %v", address, got)
		}
		if got := private.CheckURL(address); (got == nil) != want[1] {
			t.Errorf("private: %.60q: %v", address, got)
		}
	}
}

func TestDeliveryEndsWithItsContext(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = listener.Close() }() // it accepts nothing: whoever connects waits
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	begun := time.Now()
	m := &Mail{Server: listener.Addr().String(), TLS: StartTLS, From: "a@b.test"}
	w := &Webhook{Private: true}
	if m.Send(ctx, "a@b.test", anAlarm(DeviceAdded)) == nil || w.Post(ctx, "http://"+listener.Addr().String(), nil, "msg", begun, nil) == nil {
		t.Error("delivered to nobody")
	}
	if took := time.Since(begun); took > 5*time.Second {
		t.Errorf("it took %v", took)
	}
}
