package ledger

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	recordv1 "zeropass.dev/zeropass/gen/zeropass/record/v1"
)

// TestHistories plays histories against every rule that valid signatures can
// break. What a forger can break is in forge_test.go.
func TestHistories(t *testing.T) {
	for _, group := range []struct{ name, lines string }{
		{"start", `
			G E P:a
			G W:a!no-epoch E
			G L1!no-epoch
			G S!no-epoch
			G Y:5!no-epoch
			G V:r!no-epoch
			G E G!genesis
		`},
		{"devices", `
			G E D D @2 P:a @3 P:b
			G E D L2 @2 P:a!author
			G E D @2 L1 @1 P:a!author
			G E D L1!own-device
			G E D L2 L2!device
			G E D L3!device
			G E D U2!second-factor L2 U2!confirm-wait
			G E D D U2!device
			G E D U1!own-device
			G E D D L2 U2 @2 P:a
			G E D L2 U2!confirm-wait +71h59m59s U2!confirm-wait +1s U2 @2 P:a
			G E D L2 +72h X2 @2 P:a!author
			G E D X2!second-factor
			G E D D X2 P:a @2 P:b!author
			G E D D X1!own-device
			G E D D X2 X2!device U2!device L2!device U3!second-factor
			G E D D X2 @3 P:a D L4 U4
			G E D D @2 L1 L3 X1!confirm-wait +36h D!confirm-wait +36h X1 X3
			G E D D L2 X2 P:a
			G E D D X2&P:a!generation
			G E D D L3 E X2!second-factor L2 X2!confirm-wait +72h X2 U3 @3 P:a
			G E D D L3 +71h L2 +1h U3!confirm-wait +71h U3
			G E D D D L3&L4 U3&U4 X3&P:a!generation
		`},
		{"second factor", `
			G E P:a P:a W:a
			G E D P:a P:a @2 W:a
			G E P:a D D L2&Y:5 L3 Y:6!confirm-wait
			G E P:a D L2&P:a!second-factor
			G E D L2&X2!second-factor
		`},
		{"epochs", `
			G E E:1of1 B1 R1 RS C
			G E:1of1 B1 R1 RS C
			G E:16of16
			G E:2of17!quorum
			G E:1of2!quorum
			G E:3of2!quorum
			G E:0of1!quorum
			G E:1of0!quorum
			G E~0s!field
			G E~8761h!field
			G E B1 B2 R1 R2 C!receipts RS C C!committed-once
			G E B1 R1 RS C!receipts R2!receipt B2 C!receipts R2 C
			G E B1=paper B2 R1 R2 RS C
			G E:1of1+sheet RH B1 R1 RS C
			G E RH!receipt
			G E+sheet RH RH!receipt
			G E B1 R1 R1!receipt RS RS!receipt
			G E B4!member
			G E B1 B1=ann!member B2=ann B3=ann!contact
			G E B1=paper B2=paper B3=paper
			G E R4!receipt
			G E P:a B1 B2 R1 R2 RS C P:b E B1 B2 R1 R2 RS C!unsplit T C P:a
			G E P:a E C!receipts P:b P:c@1!both-epochs P:c@2!version
			G E P:a E P:a@1!both-epochs P:a@2!version P:a
			G E P:a E T P:a@1!both-epochs
			G E P:a E P:a B1 B2 R1 R2 RS C
			G E P:a E T E C!receipts B1 B2 R1 R2 RS C!unsplit T C
			G E D D E X3 B1 B2 R1 R2 RS C!revoked-since E B1 B2 R1 R2 RS C
			G E D D B1 B2 R1 R2 RS X3 C!revoked-since
			G E D B1 B2 R1 R2 RS L2 C
			G E E D B1 B2 R1 R2 RS C
			G E P:a E W:a B1 B2 R1 R2 RS C
			G E S B1 B2 R1 R2 RS C
			G E RS S B1 B2 R1 R2 C!receipts RS C
		`},
		{"weakening", recoverable + ` E B1 B2 R1 R2 RS C
			` + recoverable + ` E B1 B2=eve R1 R2 RS C!weakening +71h59m59s C!weakening +1s C
			` + recoverable + ` E +72h B1 B2=eve R1 R2 RS C!weakening +72h C
			` + recoverable + ` E B1 B2 B3=eve R1 R2 RS C!weakening +72h C
			` + recoverable + ` E B1 B2 R1 R2 RS B3=paper C!weakening +72h C
			` + recoverable + ` E+sheet +1h B1 B2 R1 R2 RS C!weakening +71h C
			` + recoverable + ` E:1of1 B1 R1 RS C!weakening +72h C
			` + recoverable + ` E:3of3 B1 B2 B3 R1 R2 R3 RS C
			` + recoverable + ` E~71h B1 B2 R1 R2 RS C!weakening +72h C
			` + recoverable + ` E~73h B1 B2 R1 R2 RS C E~72h B1 B2 R1 R2 RS +72h C!weakening +1h C
			G E B1 B2 R1 R2 RS C B3 E B1 B3=contact B2 R1 R3 RS C!weakening
			G E B1 B2 R1 R2 RS C B3 E B1 B2 B3 R1 R3 RS C!weakening +72h C
			G E B1 B2 R1 R2 RS C B3 +36h E B1 B2 B3 R1 R3 RS C!weakening +36h C
			G E B1 B2 R1 R2 RS C B3 +72h E B1 B2 B3 R1 R3 RS C
			G E E:1of1 B1=eve R1 RS C
			G E~1h B1 B2 R1 R2 RS C E B1=eve B2 R1 R2 RS +59m C!weakening +1m C
		`},
		{"slots", `
			G E P:a P:b P:a W:a P:a!slot-deleted W:a!slot-deleted W:c!slot
			G E D P:a @2 P:a P:b @1 P:b
			G E P:a&P:b!counter
		`},
		{"policy and server", `
			G E Y:5 Y:20 Y:7 S Y:1
			G E D Y:5 @2 Y:7 S
			G E Y:0!field
		`},
		{"recovery", recoverable + ` P:a Q:r/12 P:b P:a
			` + recoverable + ` P:a W:a Q:r/13 E B1 B2 R1 R2 RS C
			` + recoverable + ` P:a Q:r/123 T Q:s/23 P:b
			` + recoverable + ` Q:r/1!approvals
			` + recoverable + ` Q:r/11!approvals
			` + recoverable + ` Q:r/!approvals
			` + recoverable + ` Q:r/14!approval
			` + recoverable + ` Q:r/H!approval
			` + recoverable + ` Q:r/12 Q:r/12!recovered-once
			` + recoverable + ` Q:r/12 V:r!recovered-once V:s
			` + recoverable + ` V:r V:r!veto-twice V:s Q:r/12 V:s
			` + recoverable + ` D V:r @2 V:r Q:r/12
			` + recoverable + ` D Q:r/12 @1 P:a!author @2 P:a!author @3 P:a D
			` + recoverable + ` D P:a L1&L2!own-device L2 Q:r/12 X1!device
			` + recoverable + ` P:a E T B1 B2 R1 R2 RS Q:r/12 C!committed-once B1!member E T B1 B2 R1 R2 RS C
			` + recoverable + ` D D X2 P:a Q:r/23 P:a E T B1 B2 R1 R2 RS C
			` + recoverable + ` S Q:r/12
			G E Q:r/12!not-committed Q:r/!not-committed
			` + recoverable + ` Q:r/112!approvals
			G E B1 B2 B3 R1 R2 Q:r/12!not-committed RS C Q:r/12
			G E B1 B2 R1 R2 RS C B3 Q:r/13!approval Q:s/123!approval +72h Q:r/13
			G E B1 B2 R1 R2 RS C Q:r/13!approval
			G E+sheet B1 B2 R1 R2 RS C Q:r/H
			G E+sheet B1 B2 R1 R2 RS C Q:r/1H Q:s/HH!approvals
			G E:1of1 B1=paper R1 RS C Q:r/1 D
		`},
	} {
		t.Run(group.name, func(t *testing.T) {
			for line := range strings.Lines(group.lines) {
				if line = strings.TrimSpace(line); line == "" {
					continue
				}
				t.Run(line, func(t *testing.T) {
					t.Parallel()
					w := play(t, line)
					checkInvariants(w)
				})
			}
		})
	}
}

// checkInvariants wants what must hold in every state, and that the same entries
// fold to the same state in one go.
func checkInvariants(w *world) {
	w.t.Helper()
	s := w.state
	if len(w.entries) == 0 {
		return
	}
	folded, err := Fold(w.entries...)
	must(w.t, err)
	if !equalStates(folded, s) {
		w.t.Fatal("Fold and Apply come to different states")
	}
	checkState(w)
}

func checkState(w *world) {
	w.t.Helper()
	s := w.state
	if last := w.entries[len(w.entries)-1]; s.Head() != last.Head() || !s.Contains(last.Head()) || !s.Time().Equal(last.Time()) {
		w.t.Fatalf("head %v, the newest entry is %v", s.Head(), last.Head())
	}
	size := int64(0)
	for _, e := range w.entries {
		size += int64(len(e.Bytes()))
	}
	if s.Size() != size {
		w.t.Fatalf("%d bytes of entries, not %d", s.Size(), size)
	}
	checkSummary(w)
	if len(s.ActiveDevices()) == 0 {
		w.t.Fatal("no active device is left")
	}
	if s.inUse == 0 {
		return
	}
	checkEpochs(w)
	checkSlots(w)
}

func checkEpochs(w *world) {
	w.t.Helper()
	s := w.state
	if s.inUse > 1 && !s.Committed() || s.prepared != 0 && (s.prepared <= s.inUse || s.Prepared().Committed) {
		w.t.Fatalf("epoch %d is in use and %d prepared", s.inUse, s.prepared)
	}
	for g := uint64(1); g <= s.generation; g++ {
		for _, epoch := range s.writtenEpochs() {
			if _, _, ok := s.GenerationBackup(g, epoch); !ok {
				w.t.Fatalf("generation %d is not backed up to epoch %d", g, epoch)
			}
		}
		for _, d := range s.ActiveDevices() {
			if metadata, deviceShare, _, ok := s.GenerationKeys(g, d.Number); !ok || len(metadata) == 0 || (len(deviceShare) > 0) != (g >= s.openSince) {
				w.t.Fatalf("generation %d is not sealed to device %d", g, d.Number)
			}
		}
	}
	for _, d := range s.Devices() {
		if _, _, _, ok := s.GenerationKeys(s.generation, d.Number); ok && d.Status == Revoked {
			w.t.Fatalf("device %d is revoked and has the newest generation's keys", d.Number)
		}
		checkSealedTo(w, d)
	}
}

// checkSealedTo wants an active device to have everything, and another one to
// have got nothing by the newest entry.
func checkSealedTo(w *world, d *Device) {
	w.t.Helper()
	generations, epochs := w.state.Missing(d.Number)
	if d.Status == Active {
		if len(generations)+len(epochs) > 0 {
			w.t.Fatalf("device %d is active and misses generations %v and shares of epochs %v", d.Number, generations, epochs)
		}
		return
	}
	before, epochsBefore := w.before.Missing(d.Number)
	for _, g := range before {
		if !slices.Contains(generations, g) {
			w.t.Fatalf("device %d is %v and got generation %d", d.Number, d.Status, g)
		}
	}
	for _, epoch := range epochsBefore {
		if slices.Contains(w.state.writtenEpochs(), epoch) && !slices.Contains(epochs, epoch) {
			w.t.Fatalf("device %d is %v and got the share of epoch %d", d.Number, d.Status, epoch)
		}
	}
}

func checkSlots(w *world) {
	w.t.Helper()
	s := w.state
	required := map[ShareID]bool{}
	for _, share := range s.RequiredShares() {
		if required[share.ShareID] {
			w.t.Fatalf("share %v is required twice", share.ShareID)
		}
		required[share.ShareID] = true
	}
	named := map[ShareID]ServerShare{}
	for _, e := range w.entries {
		for _, share := range e.ServerShares() {
			named[share.ShareID] = share
		}
	}
	for id := range required {
		if _, ok := named[id]; !ok {
			w.t.Fatalf("share %v is required and no entry names it", id)
		}
	}
	checkCarried(w)
	used := map[uint64]map[uint64]bool{}
	for _, slot := range s.Slots() {
		for _, p := range slot.Puts() {
			if used[p.Device] == nil {
				used[p.Device] = map[uint64]bool{}
			}
			if used[p.Device][p.Counter] || p.Counter > s.Counter(p.Device) {
				w.t.Fatalf("device %d uses counter %d twice or did not count it", p.Device, p.Counter)
			}
			used[p.Device][p.Counter] = true
		}
		p := slot.Put(s.inUse)
		if slot.Live() && p == nil {
			w.t.Fatalf("slot %v is live and not split in epoch %d", slot.ID, s.inUse)
		}
		sealed, generation, _, ok := s.DeviceShare(slot.ID, s.inUse)
		if slot.Live() && (!ok || len(sealed) == 0 || generation < s.openSince) {
			w.t.Fatalf("no device opens the device share of slot %v", slot.ID)
		}
		if slot.Live() && !required[slotShare(p).ShareID] {
			w.t.Fatalf("the server need not hold its share of slot %v", slot.ID)
		}
	}
}

// checkCarried counts anew what a recovery must carry.
func checkCarried(w *world) {
	w.t.Helper()
	s := w.state
	most := 0
	for _, epoch := range s.writtenEpochs() {
		sum := 0
		for _, slot := range s.LiveSlots() {
			if p := slot.Put(epoch); p != nil {
				sum += len(p.SealedBackupShare) + 64
			}
		}
		if s.carried[epoch] != sum {
			w.t.Fatalf("a recovery in epoch %d carries %d bytes, counted are %d", epoch, sum, s.carried[epoch])
		}
		most = max(most, sum)
	}
	if used, limit := s.Capacity(); used != most || limit != 24<<20 {
		w.t.Fatalf("%d of %d bytes are used, not %d", used, limit, most)
	}
}

// TestEveryRuleHasText keeps rules and their texts together.
func TestEveryRuleHasText(t *testing.T) {
	if len(ruleTexts) != 60 {
		t.Errorf("%d rules have a text", len(ruleTexts))
	}
	seen := map[string]Rule{}
	for rule, text := range ruleTexts {
		if text == "" || seen[text] != "" {
			t.Errorf("rule %s has no text of its own", rule)
		}
		seen[text] = rule
	}
	err := refuse(RuleTime, "%d ms earlier", 5)
	if got := err.Error(); got != "ledger: the time is earlier than the previous entry's: 5 ms earlier (rule time)" {
		t.Error(got)
	}
}

// TestNewKeysOfAKnownContact: a contact is known by all its keys, so that nobody
// slips a device of his own under a name that counts.
func TestNewKeysOfAKnownContact(t *testing.T) {
	for _, c := range []struct {
		name    string
		devices func(old, more *recordv1.ContactDevice) []*recordv1.ContactDevice
		waits   bool
	}{
		{"the same", func(old, more *recordv1.ContactDevice) []*recordv1.ContactDevice {
			return []*recordv1.ContactDevice{old}
		}, false},
		{"another", func(old, more *recordv1.ContactDevice) []*recordv1.ContactDevice {
			return []*recordv1.ContactDevice{more}
		}, true},
		{"one more", func(old, more *recordv1.ContactDevice) []*recordv1.ContactDevice {
			return []*recordv1.ContactDevice{old, more}
		}, true},
		{"another seal key", func(old, more *recordv1.ContactDevice) []*recordv1.ContactDevice {
			return []*recordv1.ContactDevice{{SignKey: old.SignKey, SealKey: more.SealKey}}
		}, true},
	} {
		w := play(t, recoverable)
		known := w.contact("contact 1")
		more := w.contact("more").Devices[0]
		w.contacts["contact 1"] = &recordv1.Contact{Account: known.Account, Devices: c.devices(known.Devices[0], more)}
		step := " C"
		if c.waits {
			step = " C!weakening +71h59m C!weakening +1m C"
		}
		history(w, "E B1 B2 R1 R2 RS"+step)
	}
}

// TestGenesis refuses first entries that are no Genesis as it must be.
func TestGenesis(t *testing.T) {
	for name, c := range map[string]struct {
		rule  Rule
		spoil func(g *recordv1.Genesis, d *draft)
	}{
		"good":                     {"", func(g *recordv1.Genesis, d *draft) {}},
		"generation 2":             {RuleGeneration, func(g *recordv1.Genesis, d *draft) { g.Device.Generation = 2 }},
		"another author":           {RuleGenesis, func(g *recordv1.Genesis, d *draft) { d.author = 2 }},
		"an account":               {RuleGenesis, func(g *recordv1.Genesis, d *draft) { d.account = &AccountID{1} }},
		"two Genesis":              {RuleShape, func(g *recordv1.Genesis, d *draft) { d.records = append(d.records, d.records[0]) }},
		"sequence 2":               {RuleField, func(g *recordv1.Genesis, d *draft) { d.previous.Sequence = 1 }},
		"signed by the server":     {RuleSignature, func(g *recordv1.Genesis, d *draft) { d.key = d.w.server.sign }},
		"the server's key":         {RuleKeyReused, func(g *recordv1.Genesis, d *draft) { g.Device.SealKey = g.Server.SealKey }},
		"sign key is the server's": {RuleKeyReused, func(g *recordv1.Genesis, d *draft) { g.Server.SignKey = g.Device.ConfirmKey }},
		"a policy of nothing":      {RuleField, func(g *recordv1.Genesis, d *draft) { g.Policy.RevealsPerHour = 0 }},
		"another record instead":   {RuleGenesis, func(g *recordv1.Genesis, d *draft) { d.records[0] = epochCommitted(d.w) }},
		"with another record":      {RuleShape, func(g *recordv1.Genesis, d *draft) { d.records = append(d.records, epochCommitted(d.w)) }},
	} {
		w := newWorld(t, 1)
		g := w.genesis()
		d := w.draft(g)
		d.key = w.devices[1].sign
		c.spoil(g, d)
		if len(d.records) == 1 && isGenesis(d.records[0]) {
			var err error
			d.records[0], err = NewRecord(g)
			must(t, err)
		}
		err := w.apply(d)
		if c.rule == "" && err != nil || c.rule != "" && !errors.Is(err, &RuleError{Rule: c.rule}) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func epochCommitted(w *world) []byte {
	b, err := NewRecord(&recordv1.EpochCommitted{Epoch: 1})
	must(w.t, err)
	return b
}

func isGenesis(b []byte) bool {
	r, err := parseRecord(b)
	return err == nil && r.GetGenesis() != nil
}

func TestPolicyInTime(t *testing.T) {
	w := play(t, "G E Y:20")
	for _, step := range []struct {
		after time.Duration
		want  uint64
	}{{0, 10}, {71 * time.Hour, 10}, {72 * time.Hour, 20}} {
		if got := w.state.Policy(w.now.Add(step.after)).RevealsPerHour; got != step.want {
			t.Errorf("after %v: %d an hour, not %d", step.after, got, step.want)
		}
	}
	history(w, "+1h Y:30 +71h")
	if got := w.state.Policy(w.now).RevealsPerHour; got != 10 {
		t.Errorf("the replaced change took effect: %d an hour", got)
	}
	history(w, "+1h Y:5")
	if got := w.state.Policy(w.now).RevealsPerHour; got != 5 {
		t.Errorf("a stricter policy waits: %d an hour", got)
	}
	if got := w.state.Policy(w.now.Add(1000 * time.Hour)).RevealsPerHour; got != 5 {
		t.Errorf("a stricter policy ends: %d an hour", got)
	}
}
