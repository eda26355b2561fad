package systemtest

import (
	"context"
	"slices"
	"strings"
	"testing"

	apiv1 "zeropass.dev/zeropass/gen/zeropass/api/v1"
	"zeropass.dev/zeropass/gen/zeropass/api/v1/apiv1connect"
	"zeropass.dev/zeropass/internal/device"
)

// After an honest server was restored from an older copy, the activity log goes on
// with the server's branch when the owner says so, and what the server has lost
// stays: a device that was stolen meanwhile has seen what it has seen.
func TestActivityGoesOnAfterARestore(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ctx := context.Background()
	ann := w.person("ann", nil)
	ann.add("bank", "1")
	ann.add("mail", "2")
	must(t, ann.get("mail"))
	ann.sync()
	data := w.backup()
	must(t, ann.get("bank"))
	if r := ann.sync(); r.Branches {
		t.Fatalf("%+v", r)
	}
	_, err := ann.FollowActivity(ctx)
	wantCode(t, err, device.CodeUsage)
	seen := &device.Seen{}
	_, err = ann.News(ctx, seen)
	must(t, err)

	w.restore(data)
	for range 3 {
		must(t, ann.get("mail"))
	}
	r := ann.sync()
	if notes := strings.Join(r.Notes, "\n"); !r.Branches || !strings.Contains(notes, "zeropass activity follow-server") {
		t.Fatalf("%+v", r)
	}
	st, err := ann.Status(ctx)
	must(t, err)
	if !st.ActivityBranches || !strings.Contains(strings.Join(st.Warnings, "\n"), "the activity log has two branches") {
		t.Fatalf("%+v", st)
	}
	before, err := ann.Activity(ctx)
	must(t, err)

	followed, err := ann.FollowActivity(ctx)
	must(t, err)
	reveals := func(all []device.ActivityEntry, text string, lost bool) (n int) {
		for _, e := range all {
			if e.Kind == device.ActivityReveal && e.Lost == lost && strings.Contains(e.Text, text) {
				n++
			}
		}
		return n
	}
	if reveals(followed.Lost, "bank", true) != 1 || followed.Common+uint64(len(followed.Lost)) != uint64(len(before)) {
		t.Fatalf("%+v", followed)
	}
	check := func() {
		t.Helper()
		all, err := ann.Activity(ctx)
		must(t, err)
		if reveals(all, "bank", true) != 1 || reveals(all, "mail", false) < 4 {
			t.Fatalf("%+v", all)
		}
		if !slices.IsSortedFunc(all, func(a, b device.ActivityEntry) int { return a.Time.Compare(b.Time) }) {
			t.Error("they are not in the order in which they happened")
		}
		suspects, err := ann.Suspects(ctx, 1)
		must(t, err)
		for _, s := range suspects.Secrets {
			if s.Why != device.SuspectRevealed {
				t.Errorf("%s: %v", s.Metadata.Title, s.Why)
			}
		}
		st, err := ann.Status(ctx)
		must(t, err)
		kept, err := ann.ActivityEvidence()
		must(t, err)
		if st.ActivityBranches || len(kept) != 0 || len(suspects.Secrets) != 2 || len(suspects.Notes) != 0 {
			t.Fatalf("%+v, %q, %+v", st, kept, suspects)
		}
	}
	check()
	events, err := ann.News(ctx, seen)
	must(t, err)
	told := 0
	for _, e := range events {
		if e.Kind == device.EventActivity && strings.Contains(e.Text, "mail") {
			told++
		}
	}
	if told != 3 {
		t.Errorf("watch tells %d of 3 reveals: %+v", told, events)
	}
	must(t, ann.get("mail"))
	if r := ann.sync(); r.Branches || len(r.Notes) > 0 {
		t.Fatalf("%+v", r)
	}
	ann.reopen()
	check()
	_, err = ann.FollowActivity(ctx)
	wantCode(t, err, device.CodeUsage)
}

// A branch that is no chain, or that does not end as the server says, is followed
// by nobody, and nothing is lost by trying.
func TestActivityBranchThatIsNone(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ctx := context.Background()
	ann := w.person("ann", nil)
	ann.add("bank", "1")
	ann.sync()
	data := w.backup()
	must(t, ann.get("bank"))
	ann.sync()
	before, err := ann.Activity(ctx)
	must(t, err)
	w.restore(data)
	for name, change := range map[string]func(*apiv1.ActivityLogAnswer){
		"an entry is left out": func(a *apiv1.ActivityLogAnswer) {
			if len(a.Entries) > 2 {
				a.Entries = slices.Delete(a.Entries, 1, 2)
			}
		},
		"its end is withheld": func(a *apiv1.ActivityLogAnswer) {
			if len(a.Entries) > 2 {
				a.Entries = a.Entries[:2]
			}
		},
	} {
		lie(ann, apiv1connect.ServerServiceActivityLogProcedure, change)
		_, err := ann.FollowActivity(ctx)
		wantCode(t, err, device.CodeDishonest)
		ann.reopen()
		after, err := ann.Activity(ctx)
		must(t, err)
		if len(after) != len(before) || slices.ContainsFunc(after, func(e device.ActivityEntry) bool { return e.Lost }) {
			t.Errorf("%s: %+v", name, after)
		}
	}
	if followed, err := ann.FollowActivity(ctx); err != nil || len(followed.Lost) == 0 {
		t.Fatalf("%+v, %v", followed, err)
	}
}
