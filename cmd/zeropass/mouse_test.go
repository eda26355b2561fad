package main

import (
	"strings"
	"testing"

	tea "charm.land/bubbletea/v2"

	"zeropass.dev/zeropass/internal/entropy"
)

func TestMouseFillsThePool(t *testing.T) {
	var pool entropy.Pool
	m := &mouseModel{pool: &pool, width: 60}
	if m.View().MouseMode != tea.MouseModeAllMotion {
		t.Fatal("movement without a button is not reported")
	}
	m.Update(tea.WindowSizeMsg{Width: 40, Height: 10})
	empty := m.View().Content
	for i := range entropy.Target - 1 {
		if _, cmd := m.Update(tea.MouseMotionMsg{X: i % 7, Y: i % 5}); cmd != nil {
			t.Fatalf("it is over after %d movements", i+1)
		}
	}
	if m.View().Content == empty {
		t.Error("the bar does not move")
	}
	if strings.Count(empty, "░") != 36 {
		t.Errorf("an empty bar in a window of 40 characters:\n%s", empty)
	}
	if _, cmd := m.Update(tea.MouseMotionMsg{X: 9, Y: 9}); cmd == nil {
		t.Error("a full pool does not end it")
	}
	if m.stopped || m.View().MouseMode != tea.MouseModeNone {
		t.Error("a full pool stops the program, or goes on asking")
	}
}

func TestKeysSkipTheMouse(t *testing.T) {
	for key, stops := range map[tea.Key]bool{
		{Code: tea.KeyEnter}:                false,
		{Code: 'q', Text: "q"}:              false,
		{Code: tea.KeyEscape}:               false,
		{Code: 'c', Mod: tea.ModCtrl}:       true,
		{Code: tea.KeySpace, Text: " "}:     false,
		{Code: 'c', Text: "c", Mod: 0}:      false,
		{Code: 'd', Mod: tea.ModCtrl}:       false,
		{Code: 'c', Mod: tea.ModAlt}:        false,
		{Code: tea.KeyDown}:                 false,
		{Code: tea.KeyF1, Mod: tea.ModCtrl}: false,
	} {
		m := &mouseModel{pool: new(entropy.Pool), width: 60}
		if _, cmd := m.Update(tea.KeyPressMsg(key)); cmd == nil || m.stopped != stops {
			t.Errorf("key %s: stopped %v", key, m.stopped)
		}
	}
}
