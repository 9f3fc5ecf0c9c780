"""The edge: the one door of a system, behind which services of any language are routed, balanced and released."""
