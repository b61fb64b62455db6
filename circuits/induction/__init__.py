"""Rules for every neuron at once: trees and conjunctions, chosen, pruned and scored on games of their own."""
