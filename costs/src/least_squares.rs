//! Least squares of the relative error, by the normal equations: for the few unknowns of a cost row.

/// The x that makes `sum (1 - row x / time)^2` least, and that sum. `None` if the samples do not determine it.
pub(crate) fn least_squares(matrix: &[Vec<f64>], times: &[f64]) -> Option<(Vec<f64>, f64)> {
    let unknowns = matrix.first()?.len();
    // The normal equations, right side last.
    let mut equations = vec![vec![0.0; unknowns + 1]; unknowns];
    for (row, time) in matrix.iter().zip(times) {
        for (at, equation) in equations.iter_mut().enumerate() {
            let weight = row[at] / (time * time);
            row.iter().zip(equation.iter_mut()).for_each(|(x, sum)| *sum += weight * x);
            equation[unknowns] += weight * time;
        }
    }
    let found = eliminate(equations)?;
    let error = |(row, time): (&Vec<f64>, &f64)| {
        let fitted: f64 = row.iter().zip(&found).map(|(x, value)| x * value).sum();
        (1.0 - fitted / time).powi(2)
    };
    let error = matrix.iter().zip(times).map(error).sum();
    Some((found, error))
}

/// Gauss, with pivots. `None` if the equations are not independent.
fn eliminate(mut equations: Vec<Vec<f64>>) -> Option<Vec<f64>> {
    const SINGULAR: f64 = 1e-11;
    let count = equations.len();
    let scale: Vec<f64> = (0..count).map(|at| equations[at][at]).collect();
    for at in 0..count {
        let pivot = (at..count).max_by(|a, b| equations[*a][at].abs().total_cmp(&equations[*b][at].abs()))?;
        equations.swap(at, pivot);
        if equations[at][at].abs() <= SINGULAR * scale[at] {
            return None;
        }
        let pivot = equations[at].clone();
        for equation in &mut equations[at + 1..] {
            let by = equation[at] / pivot[at];
            equation.iter_mut().zip(&pivot).for_each(|(value, of_pivot)| *value -= by * of_pivot);
        }
    }
    let mut found = vec![0.0; count];
    for at in (0..count).rev() {
        let known: f64 = (at + 1..count).map(|other| equations[at][other] * found[other]).sum();
        found[at] = (equations[at][count] - known) / equations[at][at];
    }
    found.iter().all(|value| value.is_finite()).then_some(found)
}
