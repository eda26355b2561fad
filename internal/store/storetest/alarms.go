package storetest

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"zeropass.dev/zeropass/internal/store"
)

func (s *suite) alarm(a *account, kind, id string) store.Alarm {
	return store.Alarm{ID: id, Account: a.id, Kind: kind, Body: []byte("{" + id + "}")}
}

func (s *suite) settings(a *account, to store.AlarmSettings, alarms ...store.Alarm) {
	s.t.Helper()
	spend := s.logged(a, "settings")
	spend.Alarms = alarms
	s.ok(s.Log(s.ctx, store.Answer{Spend: spend, Account: a.id, Head: a.head, Alarms: &to}))
}

// begin returns what is due, as "id channel target", in the order in which it was
// raised.
func (s *suite) begin() ([]string, []store.Delivery) {
	s.t.Helper()
	var deliveries []store.Delivery
	for {
		next := must(s.Begin(s.ctx, s.now, time.Minute, 100))
		if deliveries = append(deliveries, next...); len(next) == 0 {
			break
		}
	}
	slices.SortFunc(deliveries, func(a, b store.Delivery) int { return cmp.Compare(a.ID, b.ID) })
	var due []string
	for _, d := range deliveries {
		due = append(due, fmt.Sprintf("%s %s %s", d.Alarm.ID, d.Channel, d.Target))
	}
	return due, deliveries
}

func (s *suite) wantDue(want ...string) []store.Delivery {
	s.t.Helper()
	due, deliveries := s.begin()
	if !slices.Equal(due, want) {
		s.t.Fatalf("due: %q, want %q", due, want)
	}
	return deliveries
}

func testAlarms(t *testing.T, s *suite) {
	a, b := s.create("ada"), s.create("bob")
	s.ok(s.Raise(s.ctx, s.now, s.alarm(a, "kind", "nowhere")))
	s.wantDue()

	s.settings(a, store.AlarmSettings{Mail: "ada@old"}, s.alarm(a, "settings", "first"))
	ends := s.wantDue("first mail ada@old")
	s.ok(s.End(s.ctx, ends[0]))
	s.want(s.End(s.ctx, ends[0]), store.ErrUnknownDelivery)
	// The settings that go are told as well, and where both name the same place,
	// once.
	s.settings(a, store.AlarmSettings{Mail: "ada@new", Webhook: "https://ada", Key: "k", Secret: []byte("sealed")}, s.alarm(a, "settings", "second"))
	for _, d := range s.wantDue("second mail ada@old", "second mail ada@new", "second webhook https://ada") {
		if d.Attempt != 1 || string(d.Alarm.Body) != "{second}" || d.Alarm.Account != a.id || d.Alarm.Kind != "settings" || !d.Created.Equal(s.now) {
			t.Errorf("delivery %+v", d)
		}
		if webhook := d.Channel == store.ChannelWebhook; webhook != (d.Key == "k" && string(d.Secret) == "sealed") {
			t.Errorf("%s has the key %q and the secret %q", d.Channel, d.Key, d.Secret)
		}
		s.ok(s.End(s.ctx, d))
	}
	s.settings(a, store.AlarmSettings{Webhook: "https://ada", Key: "k", Secret: []byte("sealed")}, s.alarm(a, "settings", "third"))
	for _, d := range s.wantDue("third mail ada@new", "third webhook https://ada") {
		s.ok(s.End(s.ctx, d))
	}

	// An alarm comes with what it is about, or not at all.
	spend := s.logged(a, "reveal")
	spend.Alarms = []store.Alarm{s.alarm(a, "reveal", "refused")}
	s.want(s.Log(s.ctx, store.Answer{Spend: spend, Account: a.id, Head: b.head}), store.ErrHeadMoved)
	s.wantDue()
	spend.Alarms = []store.Alarm{s.alarm(a, "reveal", "done")}
	s.ok(s.Log(s.ctx, store.Answer{Spend: spend, Account: a.id, Head: a.head}))

	// What is begun is due again after the lease, and whoever had it before has it
	// no more.
	first := s.wantDue("done webhook https://ada")[0]
	s.wantDue()
	s.ok(s.Store.Close())
	s.Store = s.open()
	s.now = s.now.Add(time.Minute)
	second := s.wantDue("done webhook https://ada")[0]
	if second.Attempt != 2 {
		t.Errorf("attempt %d", second.Attempt)
	}
	s.want(s.End(s.ctx, first), store.ErrUnknownDelivery)
	s.want(s.PutOff(s.ctx, first, s.now), store.ErrUnknownDelivery)
	s.ok(s.PutOff(s.ctx, second, s.now.Add(time.Hour)))
	s.now = s.now.Add(time.Hour - time.Millisecond)
	s.wantDue()
	if _, waiting := must2(s.AlarmSettings(s.ctx, a.id)); waiting != 1 {
		t.Errorf("%d wait", waiting)
	}
	s.now = s.now.Add(time.Millisecond)
	s.ok(s.End(s.ctx, s.wantDue("done webhook https://ada")[0]))
	settings, waiting := must2(s.AlarmSettings(s.ctx, a.id))
	if waiting != 0 || settings.Mail != "" || settings.Webhook != "https://ada" || settings.Key != "k" || string(settings.Secret) != "sealed" {
		t.Errorf("%d wait, settings %+v", waiting, settings)
	}
	if settings, _ := must2(s.AlarmSettings(s.ctx, b.id)); settings.Mail != "" || settings.Webhook != "" {
		t.Errorf("bob has settings %+v", settings)
	}
}

// testAlarmPlaces has many alarms wait for one place: each place gets its oldest,
// one at a time, and none while it is busy.
func testAlarmPlaces(t *testing.T, s *suite) {
	a, b, c := s.create("ada"), s.create("bob"), s.create("cyd")
	s.settings(a, store.AlarmSettings{Mail: "ada@here", Webhook: "https://slow", Key: "k"})
	s.settings(b, store.AlarmSettings{Mail: "bob@here"})
	s.settings(c, store.AlarmSettings{Mail: "cyd@here"})
	for n := range 8 {
		s.ok(s.Raise(s.ctx, s.now, s.alarm(a, "kind", fmt.Sprint("ada", n))))
	}
	s.now = s.now.Add(time.Millisecond)
	s.ok(s.Raise(s.ctx, s.now, s.alarm(b, "kind", "bob")))
	s.now = s.now.Add(time.Millisecond)
	s.ok(s.Raise(s.ctx, s.now, s.alarm(c, "kind", "cyd")))

	begin := func(most int, busy []store.Place, want ...string) (begun []store.Delivery) {
		t.Helper()
		begun = must(s.Begin(s.ctx, s.now, time.Minute, most, busy...))
		var got []string
		for _, d := range begun {
			got = append(got, d.Alarm.ID+" "+d.Channel)
		}
		if !slices.Equal(got, want) {
			t.Fatalf("begun: %q, want %q", got, want)
		}
		return begun
	}
	mails, webhooks := store.Place{Channel: store.ChannelMail}, store.Place{Channel: store.ChannelWebhook}
	begin(9, []store.Place{mails, webhooks})
	begin(9, []store.Place{mails, {Account: a.id, Channel: store.ChannelWebhook}})
	first := append(begin(1, []store.Place{webhooks}, "ada0 mail"), begin(1, []store.Place{mails}, "ada0 webhook")...)
	first = append(first, begin(1, []store.Place{first[0].Place(), webhooks}, "bob mail")...)
	busy := []store.Place{first[0].Place(), first[1].Place(), first[2].Place()}
	begin(1, busy, "cyd mail")
	begin(9, busy)
	s.ok(s.End(s.ctx, first[0]))
	second := begin(9, busy[1:], "ada1 mail")
	s.ok(s.PutOff(s.ctx, second[0], s.now.Add(time.Hour)))
	begin(9, busy[1:], "ada2 mail") // what is put off does not hold up what waits
}

// testAlarmBounds floods an account with one kind: another kind gets through.
func testAlarmBounds(t *testing.T, s *suite) {
	a := s.create("ada")
	s.settings(a, store.AlarmSettings{Mail: "ada@here", Webhook: "https://ada", Key: "k"})
	n := 0
	flood := func() {
		for range 100 {
			n++
			s.ok(s.Raise(s.ctx, s.now, s.alarm(a, "flood", fmt.Sprint("flood", n))))
		}
	}
	flood()
	if due, _ := s.begin(); len(due) != 2*store.AlarmsPerHour {
		t.Errorf("%d are due in the first hour", len(due))
	}
	for range 5 {
		s.now = s.now.Add(time.Hour)
		flood()
	}
	s.now = s.now.Add(time.Hour)
	s.ok(s.Raise(s.ctx, s.now, s.alarm(a, "other", "other")))
	due, deliveries := s.begin()
	if len(due) != 2*store.WaitingPerKind+2 || !slices.Contains(due, "other mail ada@here") || !slices.Contains(due, "other webhook https://ada") {
		t.Errorf("%d wait: %q", len(due), due)
	}
	for _, d := range deliveries {
		s.ok(s.End(s.ctx, d))
	}
	once := s.alarm(a, "seldom", "once")
	once.PerHour = 1
	s.ok(s.Raise(s.ctx, s.now, once))
	once.ID = "twice"
	s.ok(s.Raise(s.ctx, s.now, once))
	s.wantDue("once mail ada@here", "once webhook https://ada")
}

// testAlarmsTogether floods an account with a kind that has a pause: what comes
// within it leaves as one, and none is lost.
func testAlarmsTogether(t *testing.T, s *suite) {
	const pause = 15 * time.Minute
	a, b := s.create("ada"), s.create("bob")
	s.settings(a, store.AlarmSettings{Mail: "ada@here"})
	s.settings(b, store.AlarmSettings{Mail: "bob@here", Webhook: "https://bob", Key: "k"})
	n := 0
	raise := func(a *account, times int) {
		t.Helper()
		for range times {
			n++
			alarm := s.alarm(a, "joins", fmt.Sprint("joins", n))
			alarm.Pause = pause
			s.ok(s.Raise(s.ctx, s.now, alarm))
		}
	}
	end := func(want ...string) {
		t.Helper()
		_, deliveries := s.begin()
		var got []string
		for _, d := range deliveries {
			got = append(got, fmt.Sprintf("%s %s %d", d.Alarm.ID, d.Channel, d.Times))
			if !d.Created.Equal(s.now) {
				t.Errorf("%s was due at %v, and it is %v", d.Alarm.ID, d.Created, s.now)
			}
			s.ok(s.End(s.ctx, d))
		}
		if !slices.Equal(got, want) {
			t.Fatalf("left: %q, want %q", got, want)
		}
	}
	raise(a, 1)
	end("joins1 mail 1") // the first leaves at once
	s.now = s.now.Add(time.Minute)
	raise(a, 300)
	raise(b, 2) // another account's pause is its own, and so is each channel's count
	end("joins302 mail 2", "joins302 webhook 2")
	s.now = s.now.Add(pause - time.Minute - time.Millisecond)
	raise(a, 1)
	end()
	s.now = s.now.Add(time.Millisecond)
	end("joins2 mail 301")
	raise(a, 1)
	end()
	s.now = s.now.Add(pause)
	end("joins305 mail 1")

	// One that has been tried stays as it is; the next waits for its own turn. The
	// same alarm again is no other one.
	s.now = s.now.Add(pause)
	raise(a, 1)
	tried := s.wantDue("joins306 mail ada@here")[0]
	s.ok(s.PutOff(s.ctx, tried, s.now.Add(time.Hour)))
	raise(a, 2)
	n -= 2
	raise(a, 1)
	s.now = s.now.Add(pause)
	end("joins307 mail 2")
	// A new address is told of what comes, whatever waits for the old one.
	s.now = s.now.Add(time.Minute)
	raise(a, 1)
	s.settings(a, store.AlarmSettings{Mail: "ada@new"})
	n++
	raise(a, 1)
	s.now = s.now.Add(pause - time.Minute)
	s.wantDue("joins308 mail ada@here")
	s.now = s.now.Add(pause)
	s.wantDue("joins308 mail ada@here", "joins310 mail ada@new")
}

func testOrigins(t *testing.T, s *suite) {
	a := s.create("ada")
	s.settings(a, store.AlarmSettings{Mail: "ada@here"})
	from := func(country string, learn bool, id string) {
		t.Helper()
		spend := s.logged(a, "reveal")
		spend.Origin = &store.Origin{Account: a.id, Country: country, Learn: learn, Alarm: s.alarm(a, "origin", id)}
		s.ok(s.Log(s.ctx, store.Answer{Spend: spend, Account: a.id, Head: a.head}))
	}
	from("NZ", false, "nothing to compare with")
	from("DE", true, "the first")
	from("", true, "not known")
	from("DE", true, "again")
	s.wantDue()
	from("NZ", false, "new")
	from("NZ", false, "new as before")
	from("NZ", true, "learnt")
	from("NZ", false, "known")
	s.wantDue("new mail ada@here", "new as before mail ada@here", "learnt mail ada@here")
}

// testDeviceLimits wears one device's reveals out. The others keep theirs.
func testDeviceLimits(t *testing.T, s *suite) {
	a := s.create("ada")
	reveal := func(device uint64, failed bool) error {
		return s.Log(s.ctx, store.Answer{Spend: s.logged(a, "reveal"), Account: a.id, Head: a.head, Reveal: &store.RevealLimit{
			PerHour: 4, PerDay: 6, Device: device, DevicePerHour: 3, DevicePerDay: 5, Failed: failed}})
	}
	limited := func(err error) {
		t.Helper()
		var limit *store.LimitError
		if !errors.As(err, &limit) {
			t.Fatalf("got %v, want a limit", err)
		}
	}
	for range 3 {
		s.ok(reveal(1, true))
	}
	limited(reveal(1, true))
	limited(reveal(1, false))
	for range 3 { // failures of one device are not the account's
		s.ok(reveal(2, false))
	}
	limited(reveal(2, false))
	s.ok(reveal(3, false))
	limited(reveal(3, false)) // four in the account
	s.ok(reveal(3, true))
	s.now = s.now.Add(time.Hour)
	s.ok(reveal(1, false))
	s.ok(reveal(1, false))
	limited(reveal(1, false)) // five of the device in a day
	limited(reveal(2, false)) // six of the account in a day
}
